-- Last writer wins. A register is a list of strings (false: no value); its first two numbers, provider time and
-- sequence, order it. Ties are settled by the values themselves, so that any order of arrival ends in the same state.
local REGISTERS = {
  {'quote_ts', 'quote_seq', 'bid', 'ask', 'bid_size', 'ask_size'},
  {'trade_ts', 'trade_seq', 'last', 'last_size'},
  {'volume_ts', 'volume'},
}
local REGISTER_FIELDS = {}
for _, register in ipairs(REGISTERS) do
  for _, field in ipairs(register) do REGISTER_FIELDS[#REGISTER_FIELDS + 1] = field end
end

-- held: what HMGET of REGISTER_FIELDS gave, beginning at `from`.
local function newer(register, held, from)
  if not held[from] then return true end
  for i = 1, #register do
    local mine, theirs = register[i] or '', held[from + i - 1] or ''
    if mine ~= theirs then
      if i > 2 then return mine > theirs end
      return (tonumber(mine) or -1) > (tonumber(theirs) or -1)
    end
  end
  return false
end

-- Put a register's fields into what HSET and HDEL will be told. A missing value is a missing field, never 0.
local function put(fields, register, held, from, sets, gone)
  for i, field in ipairs(fields) do
    local value, was = register[i], held[from + i - 1]
    if value and value ~= was then
      sets[#sets + 1] = field
      sets[#sets + 1] = value
    elseif not value and was then
      gone[#gone + 1] = field
    end
  end
end
