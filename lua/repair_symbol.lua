#!lua
--[[
The same one level up: queue a publication again that nobody will make.

KEYS[1] stream     diff stream
ARGV[1] group
ARGV[2] symbol
ARGV[3] epoch
ARGV[4] names      msgpack map: the keys of the epoch and its underlying
ARGV[5] ts
ARGV[6] again      1: a stored document is missing: publish every one of them in full

Returns 1 when it queued an entry, else 0.
]]
local stream = KEYS[1]
local group, symbol, epoch, names, ts = ARGV[1], ARGV[2], ARGV[3], cmsgpack.unpack(ARGV[4]), ARGV[5]
local again = ARGV[6] == '1'

-- @include mark_model
-- @include lost

if redis.call('HGET', names.active, symbol) ~= epoch or not complete(names) then return 0 end
if again then -- whoever publishes next finds no document of this epoch, and makes them whole
  for _, field in ipairs(redis.call('HKEYS', names.models_state)) do
    if string.match(field, ':epoch$') then redis.call('HDEL', names.models_state, field) end
  end
end
local holder = redis.call('GET', names.models_lease)
if holder then
  if not lost(stream, group, string.match(holder, '^[^/]+')) then return 0 end
  redis.call('DEL', names.models_lease)
  again = true
elseif redis.call('EXISTS', names.models_dirty) == 1 then
  local entry = string.match(redis.call('HGET', names.models_state, 'queued') or '', '^(%d+%-%d+)')
  if entry and not lost(stream, group, entry) then return 0 end
elseif not again then
  local owed = redis.call('HGET', names.models_state, 'owed')
  if not owed then return 0 end
  if not string.match(owed, '^@') then
    if not lost(stream, group, owed) then return 0 end
    redis.call('HDEL', names.models_state, 'owed')
  end
  owe_models(names, symbol, epoch, ts)
  return 1
end
if again then
  for _, pane in ipairs(redis.call('HKEYS', names.geometry)) do redis.call('SADD', names.models_dirty, pane) end
end
queue_model(names, symbol, epoch, ts, '')
return 1
