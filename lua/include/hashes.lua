-- Many fields of one hash in few commands. Lua can hand a command some thousands of values at once, not more.
local MOST_VALUES = 2000

local function hmget(key, fields)
  if #fields == 0 then return {} end
  if #fields <= MOST_VALUES then return redis.call('HMGET', key, unpack(fields)) end
  local found = {}
  for first = 1, #fields, MOST_VALUES do
    local some = redis.call('HMGET', key, unpack(fields, first, math.min(first + MOST_VALUES - 1, #fields)))
    for i = 1, #some do found[first + i - 1] = some[i] end
  end
  return found
end

local function hset(key, sets)
  for first = 1, #sets, MOST_VALUES do
    redis.call('HSET', key, unpack(sets, first, math.min(first + MOST_VALUES - 1, #sets)))
  end
end
