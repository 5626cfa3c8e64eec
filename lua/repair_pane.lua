#!lua
--[[
Queue a pane again whose marks nobody will compute: marks without a lease and without an entry, greeks owed to an entry
that is gone, or a lease whose entry nobody holds. It should never happen; a repair that was not needed does no harm.

KEYS[1] stream     dirty stream
ARGV[1] group
ARGV[2] symbol
ARGV[3] epoch
ARGV[4] pane
ARGV[5] names      msgpack map: the keys of the epoch and its underlying
ARGV[6] ts

Returns 1 when it queued an entry, else 0.
]]
local stream = KEYS[1]
local group, symbol, epoch, pane, names, ts = ARGV[1], ARGV[2], ARGV[3], ARGV[4], cmsgpack.unpack(ARGV[5]), ARGV[6]

-- @include mark
-- @include lost

if redis.call('HGET', names.active, symbol) ~= epoch then return 0 end
local lease, dirty = names.lease .. pane, names.dirty .. pane
local holder = redis.call('GET', lease)
if holder then
  if not lost(stream, group, string.match(holder, '^[^/]+')) then return 0 end
  redis.call('DEL', lease)
  redis.call('SADD', dirty, '*')
  redis.call('HINCRBY', names.tiles .. pane, 'claims', 1) -- what the lost claim took nobody knows: all read it anew
else
  if redis.call('EXISTS', dirty) == 0 then
    local owed = redis.call('HGET', names.owed, pane)
    if not owed then
      redis.call('SREM', names.dirty_panes, pane)
      return 0
    end
    if not string.match(owed, '^@') then
      if not lost(stream, group, owed) then return 0 end
      redis.call('HDEL', names.owed, pane)
    end
    owe(names, symbol, epoch, pane, ts, '')
    return 1
  end
  local entry = string.match(redis.call('HGET', names.queued, pane) or '', '^(%d+%-%d+)')
  if entry and not lost(stream, group, entry) then return 0 end
end
queue(names, symbol, epoch, pane, 'repair', ts, '')
return 1
