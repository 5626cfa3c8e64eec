#!lua
--[[
Store what was computed of a pane, mark it for publication where it differs, and let the lease go. Marks that came
meanwhile queue the next entry; where tiles alone were computed, one entry is queued that will compute the greeks. A
stale token changes nothing.

KEYS[1] stream     dirty stream
KEYS[2] tiles      what was computed
KEYS[3] grids      every tile, a string of numbers
ARGV[1] group
ARGV[2] entry
ARGV[3] symbol
ARGV[4] epoch
ARGV[5] pane
ARGV[6] token
ARGV[7] seq        the commit the values were claimed at
ARGV[8] ts         oldest event behind its tiles
ARGV[9] origin     the entry of that event
ARGV[10] fields    msgpack list: field, packed value, ... of what the caller computed and holds for changed
ARGV[11] names     msgpack map: the keys of the epoch and its underlying
ARGV[12] whole     every tile, where the caller does not know what is stored, or ''
ARGV[13] patches   msgpack list: offset, bytes, ... of the tiles that changed, where it does
ARGV[14] owing     1 where tiles alone were computed
ARGV[15] greeks_ts  oldest event behind everything else

Returns how many fields and patches changed, -1 for a stale token, -2 for an epoch that is no longer active.
]]
local stream, tiles, grids = KEYS[1], KEYS[2], KEYS[3]
local group, entry, symbol, epoch, pane = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local token, seq, ts, origin = ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local fields, names = cmsgpack.unpack(ARGV[10]), cmsgpack.unpack(ARGV[11])
local whole, patches, owing, greeks_ts = ARGV[12], cmsgpack.unpack(ARGV[13]), ARGV[14] == '1', ARGV[15]

-- @include mark
-- @include mark_model

local lease, dirty = names.lease .. pane, names.dirty .. pane
if redis.call('GET', lease) ~= token then return -1 end
if redis.call('HGET', names.active, symbol) ~= epoch then
  redis.call('DEL', lease)
  redis.call('XACK', stream, group, entry)
  return -2
end

local sets = {}
for i = 1, #fields, 2 do
  if redis.call('HGET', tiles, fields[i]) ~= fields[i + 1] then
    sets[#sets + 1] = fields[i]
    sets[#sets + 1] = fields[i + 1]
  end
end
local computed, moved = #sets / 2, 0
if whole ~= '' then
  if redis.call('GET', grids) ~= whole then
    redis.call('SET', grids, whole)
    moved = moved + 1
  end
end
for i = 1, #patches, 2 do
  redis.call('SETRANGE', grids, patches[i], patches[i + 1])
  moved = moved + 1
end
local changed = computed + moved
local first = redis.call('HEXISTS', tiles, 'version') == 0
if changed > 0 or first then
  if moved > 0 or first then redis.call('HSET', tiles, 'seq', seq) end
  if computed > 0 or first then
    redis.call('HSET', tiles, 'greeks', seq, unpack(sets))
    redis.call('HSETNX', names.models_state, 'greeks_ts', greeks_ts)
  end
  redis.call('HINCRBY', tiles, 'version', 1)
  if first then redis.call('HINCRBY', names.meta, 'computed', 1) end
  -- Tiles name the event behind them; what is deferred is older, and names none.
  local tiles_too = moved > 0 or first
  mark_model(names, symbol, epoch, pane, tiles_too and ts or greeks_ts, tiles_too and origin or '',
    first and complete(names))
end
redis.call('HINCRBY', names.analytics, owing and 'tiles_first' or 'computed', 1)
if changed > 0 then redis.call('HINCRBY', names.analytics, 'changed', 1) end
redis.call('DEL', lease)
redis.call('XACK', stream, group, entry)
local owed = redis.call('HGET', names.owed, pane)
if owing or (owed and string.match(owed, '^@')) then owe(names, symbol, epoch, pane, ts, origin) end
if redis.call('EXISTS', dirty) == 1 then
  local _, next_ts, next_origin, reason = string.match(redis.call('HGET', names.queued, pane) or '',
    '^([^|]*)|([^|]*)|([^|]*)|(.*)$')
  queue(names, symbol, epoch, pane, reason or 'ws', next_ts or ts, next_origin or origin)
elseif not owing and not owed then
  redis.call('SREM', names.dirty_panes, pane)
  if redis.call('SCARD', names.dirty_panes) == 0 then
    redis.call('SREM', names.epoch_dirty, epoch)
    redis.call('SADD', names.epoch_clean, epoch)
  end
end
return changed
