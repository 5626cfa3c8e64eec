-- Mark members of a pane as changed. The first mark of a pane that nobody is computing queues one entry; while
-- somebody computes it, the holder of the lease sees the marks when it commits and queues the next entry itself.
local function queue(names, symbol, epoch, pane, reason, ts, origin)
  local id = redis.call('XADD', names.dirty_stream, '*', 'symbol', symbol, 'epoch', epoch, 'pane', pane,
    'reason', reason, 'ts', ts, 'origin', origin)
  redis.call('HSET', names.queued, pane, id .. '|' .. ts .. '|' .. origin .. '|' .. reason)
  redis.call('SADD', names.dirty_panes, pane)
  redis.call('SADD', names.epoch_dirty, epoch)
  redis.call('SREM', names.epoch_clean, epoch)
end

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
