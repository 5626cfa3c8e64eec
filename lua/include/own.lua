-- Take ownership of entries; answers the ids that are still ours to commit. An id that is no longer pending was
-- committed by another consumer, so whoever calls must apply nothing and build the batch again from what is left.
local function take(stream, group, consumer, ids)
  local words = {'XCLAIM', stream, group, consumer, 0}
  for _, id in ipairs(ids) do words[#words + 1] = id end
  words[#words + 1] = 'JUSTID'
  return redis.call(unpack(words))
end

-- The same for a call that acknowledges them as well: what is pending in our name need not be claimed, which would write
-- every one of them to the append-only file (a third of what an entry costs).
local function own(stream, group, consumer, ids)
  local pending = redis.call('XPENDING', stream, group, ids[1], ids[#ids], #ids, consumer)
  local ours = #pending == #ids
  for i = 1, #pending do ours = ours and pending[i][1] == ids[i] end
  return ours and ids or take(stream, group, consumer, ids)
end
