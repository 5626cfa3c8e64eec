-- Last writer wins. A register is one text: 13 digits of provider time in ms and what it was worth then, apart by `|`;
-- nothing between two of them is a missing value. Time decides, then the number that follows it, then the values, so
-- that any order of arrival ends in the same state.
local TIME_DIGITS = 13

local function values_of_register(register)
  local values = {}
  for value in string.gmatch(register .. '|', '([^|]*)|') do values[#values + 1] = value end
  return values
end

local function newer(register, held)
  if not held or held == '' then return true end
  local ts, held_ts = string.sub(register, 1, TIME_DIGITS), string.sub(held, 1, TIME_DIGITS)
  if ts ~= held_ts then return ts > held_ts end
  if register == held then return false end
  local mine, theirs = values_of_register(register), values_of_register(held)
  for i = 2, #mine do
    if mine[i] ~= theirs[i] then
      if i > 2 then return mine[i] > theirs[i] end
      return tonumber(mine[i]) > tonumber(theirs[i])
    end
  end
  return false
end

-- Bid and ask of a quote as they stand in it; of none, as of one without prices.
local function prices_of(quote) return string.match(quote, '^%d+|([^|]*|[^|]*)', TIME_DIGITS + 2) or '|' end
