local function soil(names, epoch, pane)
  if redis.call('SADD', names.dirty_panes, pane) == 1 then
    redis.call('SADD', names.epoch_dirty, epoch)
    redis.call('SREM', names.epoch_clean, epoch)
  end
end

local function queue(names, symbol, epoch, pane, reason, ts, origin)
  local id = redis.call('XADD', names.dirty_stream, '*', 'symbol', symbol, 'epoch', epoch, 'pane', pane,
    'reason', reason, 'ts', ts, 'origin', origin)
  redis.call('HSET', names.queued, pane, id .. '|' .. ts .. '|' .. origin .. '|' .. reason)
  soil(names, epoch, pane)
end

-- Mark members of a pane as changed. The first mark of a pane that nobody is computing queues one entry; while
-- somebody computes it, the holder of the lease sees the marks when it commits and queues the next entry itself.
local function mark(names, symbol, epoch, pane, members, reason, ts, origin)
  local dirty = names.dirty .. pane
  local marked = redis.call('EXISTS', dirty) == 1
  for first = 1, #members, 1000 do
    redis.call('SADD', dirty, unpack(members, first, math.min(first + 999, #members)))
  end
  if marked then return end
  if redis.call('EXISTS', names.lease .. pane) == 1 then
    redis.call('HSET', names.queued, pane, '|' .. ts .. '|' .. origin .. '|' .. reason)
  else
    queue(names, symbol, epoch, pane, reason, ts, origin)
  end
end

-- Queue the entry that will compute what a pane owes besides its tiles, unless one is on its way. It is a debt like a
-- mark: whoever claims the pane to compute everything takes it over with the claim. '@since' is a debt whose entry came
-- while the pane was held.
local function owe(names, symbol, epoch, pane, ts, origin)
  local owed = redis.call('HGET', names.owed, pane)
  local since = owed and string.match(owed, '^@(.*)$')
  if owed and not since then return end
  local id = redis.call('XADD', names.dirty_stream, '*', 'symbol', symbol, 'epoch', epoch, 'pane', pane,
    'reason', 'greeks', 'ts', ts, 'origin', origin, 'since', since or '')
  redis.call('HSET', names.owed, pane, id)
  soil(names, epoch, pane)
end
