#!lua
--[[
Switch an underlying to its staged epoch, mark every pane whole, and acknowledge the chain: one short call.

KEYS[1] stream     chain stream
KEYS[2] staged     chunk numbers done
KEYS[3] retiring   epochs to be let go
KEYS[4] timeline   list of past epochs
KEYS[5] epochs     epoch stream
KEYS[6] analytics
KEYS[7] old_meta   meta of the epoch that was active (or of this one, when there was none)
ARGV[1] group
ARGV[2] consumer
ARGV[3] entry
ARGV[4] symbol
ARGV[5] epoch
ARGV[6] chunks     how many there must be
ARGV[7] ts         snapshot time, ms
ARGV[8] reason
ARGV[9] price      spot the chain brought, or ''
ARGV[10] spot_ts
ARGV[11] names     msgpack map: the keys of the new epoch and its underlying
ARGV[12] minute    newest provider minute of the chain's quotes, ms
ARGV[13] counts     msgpack list: field, n, ...: faults of the rows, for the analytics

Returns 'promoted'; 'gone' or 'lost' (the epoch is not the one being staged) or 'incomplete'.
]]
local stream, staged, retiring, timeline = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local epochs, analytics, old_meta = KEYS[5], KEYS[6], KEYS[7]
local group, consumer, entry, symbol, epoch = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local chunks, ts, reason, price, spot_ts = ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10]
local names, minute = cmsgpack.unpack(ARGV[11]), ARGV[12]
local TIMELINE = 200

-- @include own
-- @include note
-- @include mark
-- @include mark_model
-- @include take_spot

if #own(stream, group, consumer, {entry}) == 0 then return 'gone' end
if redis.call('HGET', names.staging, symbol) ~= epoch then return 'lost' end
if redis.call('SCARD', staged) ~= tonumber(chunks) then return 'incomplete' end

local previous = redis.call('HGET', names.active, symbol) or ''
redis.call('HSET', names.active, symbol, epoch)
redis.call('HDEL', names.staging, symbol)
redis.call('HSET', names.meta, 'state', 'active')
redis.call('DEL', staged)
if previous ~= '' then
  redis.call('HSET', old_meta, 'state', 'retired')
  redis.call('SADD', retiring, previous)
  redis.call('SREM', names.epoch_dirty, previous)
  redis.call('SREM', names.epoch_clean, previous)
end
local seq = note(names, symbol, epoch, 'promote', entry, ts)
-- What the old epoch had not published yet is moot, and whoever is publishing it loses the lease; the new one is
-- published when all its panes are computed.
redis.call('DEL', names.models_dirty, names.models_lease)
redis.call('HDEL', names.models_state, 'owed', 'greeks_ts')
local panes = redis.call('HKEYS', names.geometry)
table.sort(panes)
for _, pane in ipairs(panes) do mark(names, symbol, epoch, pane, {'*'}, 'chain', ts, entry) end
if price ~= '' then take_spot(names, symbol, epoch, price, spot_ts, entry) end
if tonumber(minute) > tonumber(redis.call('HGET', names.clock, 'quotes') or 0) then
  redis.call('HSET', names.clock, 'quotes', minute)
end
redis.call('LPUSH', timeline, ts .. '|' .. epoch .. '|' .. reason)
redis.call('LTRIM', timeline, 0, TIMELINE - 1)
redis.call('XADD', epochs, '*', 'event', 'promoted', 'symbol', symbol, 'epoch', epoch, 'previous', previous,
  'reason', reason, 'ts', ts)
redis.call('HINCRBY', analytics, 'promoted', 1)
local counts = cmsgpack.unpack(ARGV[13])
for i = 1, #counts, 2 do redis.call('HINCRBY', analytics, counts[i], counts[i + 1]) end
redis.call('XACK', stream, group, entry)
return 'promoted'
