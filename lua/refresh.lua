#!lua
--[[
Bring one chunk of a chain with the same geometry into the active epoch, in place: quotes, trades and volume where the
chain's are newer, open interest and greeks always (chains are applied in their order). The last chunk acknowledges.

KEYS[1] stream     chain stream
KEYS[2] analytics
KEYS[3] epochs     epoch stream
ARGV[1] group
ARGV[2] consumer
ARGV[3] entry
ARGV[4] symbol
ARGV[5] epoch      the active epoch
ARGV[6] chunk      its number
ARGV[7] last       1 for the last chunk
ARGV[8] ts         snapshot time, ms
ARGV[9] price      spot the chain brought, or ''
ARGV[10] spot_ts
ARGV[11] names     msgpack map: the keys of the epoch and its underlying
ARGV[12] contracts msgpack list: {ticker, pane, {oi, iv, delta, gamma, theta, vega}, quote, trade, volume}
ARGV[13] minute    newest provider minute of the chain's quotes, ms
ARGV[14] counts     msgpack list: field, n, ...: faults of the rows, for the analytics
ARGV[15] facts     msgpack list: fields of the epoch's meta that follow the newest chain

Returns how many contracts changed; -1 where the entry is another's, -2 where the epoch is no longer the active one.
]]
local stream, analytics, epochs = KEYS[1], KEYS[2], KEYS[3]
local group, consumer, entry, symbol, epoch = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local chunk, last, ts, price, spot_ts = ARGV[6], ARGV[7] == '1', ARGV[8], ARGV[9], ARGV[10]
local names, contracts, minute = cmsgpack.unpack(ARGV[11]), cmsgpack.unpack(ARGV[12]), ARGV[13]

-- @include own
-- @include newest
-- @include note
-- @include mark
-- @include mark_model
-- @include take_spot

local CHAIN = {'oi', 'iv', 'delta', 'gamma', 'theta', 'vega'}
local FIELDS = {unpack(CHAIN)}
for _, field in ipairs(REGISTER_FIELDS) do FIELDS[#FIELDS + 1] = field end

if #take(stream, group, consumer, {entry}) == 0 then return -1 end
if redis.call('HGET', names.active, symbol) ~= epoch then return -2 end

local marks, wrote, chain_moved, changed_contracts = {}, false, false, 0
for _, contract in ipairs(contracts) do
  local key = names.contract .. contract[1]
  local held = redis.call('HMGET', key, unpack(FIELDS))
  local sets, gone, changed = {}, {}, false
  put(CHAIN, contract[3], held, 1, sets, gone)
  if #sets > 0 or #gone > 0 then
    changed, chain_moved = true, true
    sets[#sets + 1] = 'chain_ts'
    sets[#sets + 1] = ts
  end
  local from = #CHAIN + 1
  for i, fields in ipairs(REGISTERS) do
    local register = contract[3 + i]
    if register and newer(register, held, from) then
      put(fields, register, held, from, sets, gone)
      if i == 1 and (register[3] ~= held[from + 2] or register[4] ~= held[from + 3]) then changed = true end
      if i == 3 and register[2] ~= held[from + 1] then changed = true end
    end
    from = from + #fields
  end
  if #sets > 0 then redis.call('HSET', key, unpack(sets)) end
  if #gone > 0 then redis.call('HDEL', key, unpack(gone)) end
  wrote = wrote or #sets > 0 or #gone > 0
  if changed then
    changed_contracts = changed_contracts + 1
    local pane = contract[2]
    if not marks[pane] then
      marks[pane] = {}
      marks[#marks + 1] = pane
    end
    table.insert(marks[pane], contract[1])
  end
end
-- The last chunk is noted whatever it wrote: spot, clock and the epoch's facts go on with it.
if wrote or last then note(names, symbol, epoch, 'refresh', entry, ts, chunk) end
if chain_moved then redis.call('HSET', names.meta, 'chain_ts', ts) end
for _, pane in ipairs(marks) do mark(names, symbol, epoch, pane, marks[pane], 'chain', ts, entry) end
if last then
  if price ~= '' then take_spot(names, symbol, epoch, price, spot_ts, entry) end
  if tonumber(minute) > tonumber(redis.call('HGET', names.clock, 'quotes') or 0) then
    redis.call('HSET', names.clock, 'quotes', minute)
    mark_model(names, symbol, epoch, 'header', ts, entry)
  end
  local market = redis.call('HGET', names.meta, 'market')
  redis.call('HSET', names.meta, 'refreshed_ts', ts, unpack(cmsgpack.unpack(ARGV[15])))
  if redis.call('HGET', names.meta, 'market') ~= market then
    mark_model(names, symbol, epoch, 'header', ts, entry)
  end
  redis.call('HINCRBY', analytics, 'refreshed', 1)
  local counts = cmsgpack.unpack(ARGV[14])
  for i = 1, #counts, 2 do redis.call('HINCRBY', analytics, counts[i], counts[i + 1]) end
  redis.call('XADD', epochs, '*', 'event', 'refreshed', 'symbol', symbol, 'epoch', epoch, 'previous', epoch,
    'reason', 'chain', 'ts', ts)
  redis.call('XACK', stream, group, entry)
end
return changed_contracts
