-- The same protocol one level up: mark what the next publication of an underlying must look at. Nothing is queued
-- before every pane of the epoch has been computed once, so that no half-made epoch is ever published.
local function complete(names)
  local made = redis.call('HMGET', names.meta, 'computed', 'panes')
  return made[1] and made[1] == made[2]
end

local function queue_model(names, symbol, epoch, ts, origin)
  local seq = redis.call('GET', names.sequence) or '0'
  local id = redis.call('XADD', names.diffs, '*', 'symbol', symbol, 'epoch', epoch, 'seq', seq, 'ts', ts,
    'origin', origin)
  redis.call('HSET', names.models_state, 'queued', id .. '|' .. ts .. '|' .. origin)
end

local function mark_model(names, symbol, epoch, member, ts, origin, completed)
  local marked = redis.call('EXISTS', names.models_dirty) == 1
  redis.call('SADD', names.models_dirty, member)
  if marked and not completed then return end
  if redis.call('EXISTS', names.models_lease) == 1 or not complete(names) then
    redis.call('HSET', names.models_state, 'queued', '|' .. ts .. '|' .. origin)
  else
    queue_model(names, symbol, epoch, ts, origin)
  end
end
