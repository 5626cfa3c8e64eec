-- Take ownership of entries; answers the ids that are still ours to commit. An id that is no longer pending was
-- committed by another consumer, so whoever calls must apply nothing and build the batch again from what is left.
local function own(stream, group, consumer, ids)
  local words = {'XCLAIM', stream, group, consumer, 0}
  for _, id in ipairs(ids) do words[#words + 1] = id end
  words[#words + 1] = 'JUSTID'
  return redis.call(unpack(words))
end
