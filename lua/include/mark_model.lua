-- The same protocol one level up: mark what the next publication of an underlying must look at. Nothing is queued
-- before every pane of the epoch has been computed once, so that no half-made epoch is ever published.
local function complete(names)
  local made = redis.call('HMGET', names.meta, 'computed', 'panes')
  return made[1] and made[1] == made[2]
end

local function add_model(names, symbol, epoch, reason, ts, origin, ...)
  return redis.call('XADD', names.diffs, '*', 'symbol', symbol, 'epoch', epoch, 'reason', reason,
    'seq', redis.call('GET', names.sequence) or '0', 'ts', ts, 'origin', origin, ...)
end

local function queue_model(names, symbol, epoch, ts, origin)
  local id = add_model(names, symbol, epoch, 'tiles', ts, origin)
  redis.call('HSET', names.models_state, 'queued', id .. '|' .. ts .. '|' .. origin)
end

-- Queue the entry that will publish what rests on greeks, unless one is on its way. '@since' is a debt whose entry came
-- while the underlying was held.
local function owe_models(names, symbol, epoch, ts)
  local owed = redis.call('HGET', names.models_state, 'owed')
  local since = owed and string.match(owed, '^@(.*)$')
  if owed and not since then return end
  local oldest = redis.call('HGET', names.models_state, 'greeks_ts') or ts
  redis.call('HSET', names.models_state, 'owed', add_model(names, symbol, epoch, 'derived', oldest, '', 'since', since or ''))
end

local function mark_model(names, symbol, epoch, member, ts, origin, completed)
  local marked = redis.call('EXISTS', names.models_dirty) == 1
  redis.call('SADD', names.models_dirty, member)
  if marked and not completed then
    local queued = origin ~= '' and redis.call('HGET', names.models_state, 'queued')
    local id = queued and string.match(queued, '^([^|]*)|[^|]*|$')
    if id then redis.call('HSET', names.models_state, 'queued', id .. '|' .. ts .. '|' .. origin) end
    return
  end
  if redis.call('EXISTS', names.models_lease) == 1 or not complete(names) then
    redis.call('HSET', names.models_state, 'queued', '|' .. ts .. '|' .. origin)
  else
    queue_model(names, symbol, epoch, ts, origin)
  end
end
