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
ARGV[12] panes     msgpack list: {pane, tickers, and by kind a register of each or false: quotes, trades, volumes, chain}
ARGV[13] minute    newest provider minute of the chain's quotes, ms
ARGV[14] counts     msgpack list: field, n, ...: faults of the rows, for the analytics
ARGV[15] facts     msgpack list: fields of the epoch's meta that follow the newest chain

Returns how many contracts changed; -1 where the entry is another's, -2 where the epoch is no longer the active one.
]]
local stream, analytics, epochs = KEYS[1], KEYS[2], KEYS[3]
local group, consumer, entry, symbol, epoch = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local chunk, last, ts, price, spot_ts = ARGV[6], ARGV[7] == '1', ARGV[8], ARGV[9], ARGV[10]
local names, panes, minute = cmsgpack.unpack(ARGV[11]), cmsgpack.unpack(ARGV[12]), ARGV[13]

-- @include own
-- @include newest
-- @include hashes
-- @include note
-- @include mark
-- @include mark_model
-- @include take_spot

if #take(stream, group, consumer, {entry}) == 0 then return -1 end
if redis.call('HGET', names.active, symbol) ~= epoch then return -2 end

-- Behind the time: what a chain says, and what makes a quote or a volume another one.
local COMPARED = {chain = function(register) return string.sub(register, TIME_DIGITS + 1) end, quotes = prices_of}
COMPARED.volumes = COMPARED.chain
local marks, wrote, chain_moved, changed_contracts = {}, false, false, 0

-- Which contracts of a pane have changed goes into `changed`; whether anything was written is answered.
local function refresh(kind, of, changed)
  local key, tickers, said, compared = names[kind] .. of.pane, of.tickers, of[kind], COMPARED[kind]
  local held, sets = hmget(key, tickers), {}
  for i, ticker in ipairs(tickers) do
    local register, was = said[i], held[i] or ''
    local other = register and compared and compared(register) ~= compared(was)
    if register and (kind == 'chain' and other or kind ~= 'chain' and newer(register, was)) then
      sets[#sets + 1] = ticker
      sets[#sets + 1] = register
      if other then changed[i] = true end
    end
  end
  hset(key, sets)
  return #sets > 0
end

for _, of in ipairs(panes) do
  local changed, members = {}, {}
  if refresh('chain', of, changed) then wrote, chain_moved = true, true end
  for _, kind in ipairs({'quotes', 'trades', 'volumes'}) do wrote = refresh(kind, of, changed) or wrote end
  for i, ticker in ipairs(of.tickers) do
    if changed[i] then members[#members + 1] = ticker end
  end
  if #members > 0 then marks[#marks + 1] = {of.pane, members} end
  changed_contracts = changed_contracts + #members
end
-- The last chunk is noted whatever it wrote: spot, clock and the epoch's facts go on with it.
if wrote or last then note(names, symbol, epoch, 'refresh', entry, ts, chunk) end
if chain_moved then redis.call('HSET', names.meta, 'chain_ts', ts) end
for _, of in ipairs(marks) do mark(names, symbol, epoch, of[1], of[2], 'chain', ts, entry) end
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
