#!lua
--[[
Mark an epoch dormant (its feed had been speaking and fell silent) and ask for a fresh chain that makes a new epoch; or
say that the feed speaks again.

KEYS[1] active     symbol -> epoch
KEYS[2] meta
KEYS[3] job        hash: the fetch that is wanted next
KEYS[4] epochs     epoch stream
ARGV[1] symbol
ARGV[2] epoch
ARGV[3] event      dormant or resumed
ARGV[4] ts
ARGV[5] names      msgpack map: the keys of the epoch and its underlying

Returns 1, or 0 where the epoch is no longer the active one.
]]
local symbol, epoch, event, ts = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local names = cmsgpack.unpack(ARGV[5])

-- @include note
-- @include mark_model

if redis.call('HGET', KEYS[1], symbol) ~= epoch then return 0 end
redis.call('HSET', KEYS[2], 'state', event == 'dormant' and 'dormant' or 'active')
if event == 'dormant' then
  redis.call('HINCRBY', KEYS[2], 'dormant_count', 1)
  redis.call('HSET', KEYS[3], 'wanted', 'dormant', 'force', '1')
end
if event == 'resumed' then redis.call('HSET', KEYS[2], 'resumed', '1') end
note(names, symbol, epoch, event, '', ts) -- what documents say of themselves follows from the order of commits
mark_model(names, symbol, epoch, 'header', ts, '') -- documents say it of themselves
redis.call('XADD', KEYS[4], '*', 'event', event, 'symbol', symbol, 'epoch', epoch, 'previous', epoch, 'reason', event,
  'ts', ts)
return 1
