-- The order of commits of an underlying: take the next number and note which entries were applied under it.
local function note(names, symbol, epoch, kind, ids, ts, part)
  local seq = redis.call('INCR', names.sequence)
  redis.call('XADD', names.commits, '*', 'symbol', symbol, 'epoch', epoch, 'seq', seq, 'kind', kind, 'ids', ids,
    'ts', ts, 'part', part or '')
  return seq
end
