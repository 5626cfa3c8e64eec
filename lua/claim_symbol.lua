#!lua
--[[
Take an underlying to publish it: the lease and the marks of what changed.

KEYS[1] stream     diff stream
KEYS[2] geometry   of the entry's epoch
ARGV[1] group
ARGV[2] consumer
ARGV[3] entry
ARGV[4] symbol
ARGV[5] epoch
ARGV[6] names      msgpack map: the keys of the epoch and its underlying
ARGV[7] derived    1 for an entry that is to publish what rests on greeks as well
ARGV[8] since      when such an entry was first queued, ms

Returns {'claimed', token, seq, spot, quotes minute, trail of spots, meta (flat list), state (flat list), marks, queued
(entry|ts|origin of what was marked first)} or one word: 'gone', 'retired', 'unfinished' (not every pane is computed),
'held', 'clean', 'paid' (published meanwhile); all but 'gone' acknowledged.
]]
local stream, geometry = KEYS[1], KEYS[2]
local group, consumer, entry, symbol, epoch = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local names, derived, since = cmsgpack.unpack(ARGV[6]), ARGV[7] == '1', ARGV[8]

-- @include own
-- @include mark_model

if #take(stream, group, consumer, {entry}) == 0 then return {'gone'} end
local function vanish(why)
  redis.call('XACK', stream, group, entry)
  return {why}
end
if redis.call('HGET', names.active, symbol) ~= epoch then
  -- The entry is of an epoch that is over; the marks may be of the one that is not: its own entry will take them.
  return vanish('retired')
end
local holder = redis.call('GET', names.models_lease)
local own_lease = holder and string.match(holder, '^[^/]+') == entry
if derived and not own_lease then
  if redis.call('HGET', names.models_state, 'owed') ~= entry then return vanish('paid') end
  if holder then redis.call('HSET', names.models_state, 'owed', '@' .. since) end -- its publication queues it anew
end
if holder and not own_lease then return vanish('held') end
if not complete(names) then return vanish('unfinished') end
local marks = redis.call('SMEMBERS', names.models_dirty)
if #marks == 0 and not own_lease and not derived then return vanish('clean') end

local token = entry .. '/' .. redis.call('HINCRBY', names.models_state, 'claims', 1)
redis.call('SET', names.models_lease, token)
local queued = redis.call('HGET', names.models_state, 'queued') or ''
redis.call('DEL', names.models_dirty)
redis.call('HDEL', names.models_state, 'queued')
if derived then redis.call('HDEL', names.models_state, 'owed', 'greeks_ts') end
if own_lease then marks = redis.call('HKEYS', geometry) end
table.sort(marks)
return {'claimed', token, redis.call('GET', names.sequence) or '0', redis.call('GET', names.spot) or '',
  redis.call('HGET', names.clock, 'quotes') or '0', redis.call('ZRANGE', names.spot_trail, 0, -1),
  redis.call('HGETALL', names.meta), redis.call('HGETALL', names.models_state), marks, queued}
