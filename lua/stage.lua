#!lua
--[[
Write one chunk of a new epoch's contracts, each merged with what the active epoch knows of it (newest wins), so that
ticks applied before the chunk are not lost. A chunk that was staged already counts once and changes nothing.

KEYS[1] stream     chain stream
KEYS[2] staging    symbol -> epoch
KEYS[3] staged     chunk numbers done
KEYS[4] sequence   KEYS[5] commits   the order of commits
ARGV[1] group
ARGV[2] consumer
ARGV[3] entry
ARGV[4] symbol
ARGV[5] epoch
ARGV[6] chunk      its number
ARGV[7] ts         snapshot time, ms
ARGV[8] fresh      key prefix of the new epoch's contracts
ARGV[9] known      key prefix of the active epoch's contracts, or ''
ARGV[10] contracts msgpack list: {ticker, {field, value, ...}, quote, trade, volume}

Returns 1; 0 where the entry is another's or the epoch is no longer being staged.
]]
local stream, staging, staged = KEYS[1], KEYS[2], KEYS[3]
local names = {sequence = KEYS[4], commits = KEYS[5]}
local group, consumer, entry, symbol, epoch = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local chunk, ts, fresh, known = ARGV[6], ARGV[7], ARGV[8], ARGV[9]

-- @include own
-- @include newest
-- @include note

if #take(stream, group, consumer, {entry}) == 0 or redis.call('HGET', staging, symbol) ~= epoch then return 0 end
if redis.call('SISMEMBER', staged, chunk) == 1 then return 1 end

local nothing = {}
for i = 1, #REGISTER_FIELDS do nothing[i] = false end
for _, contract in ipairs(cmsgpack.unpack(ARGV[10])) do
  local sets = {} -- what ticks write comes first, then what claims read: a hash is searched from its beginning
  local held = known ~= '' and redis.call('HMGET', known .. contract[1], unpack(REGISTER_FIELDS)) or nothing
  local from = 1
  for i, fields in ipairs(REGISTERS) do
    local register = contract[2 + i]
    if register and newer(register, held, from) then
      put(fields, register, nothing, from, sets, {})
    else
      for j, field in ipairs(fields) do
        local value = held[from + j - 1]
        if value then
          sets[#sets + 1] = field
          sets[#sets + 1] = value
        end
      end
    end
    from = from + #fields
  end
  for _, part in ipairs(contract[2]) do sets[#sets + 1] = part end
  redis.call('DEL', fresh .. contract[1]) -- with a TTL, if this epoch had been given up before
  redis.call('HSET', fresh .. contract[1], unpack(sets))
end
note(names, symbol, epoch, 'stage', entry, ts, chunk)
redis.call('SADD', staged, chunk)
return 1
