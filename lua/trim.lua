#!lua flags=allow-oom
--[[
Trim a stream behind its slowest group, and never ahead of it. Works with memory full: it is what makes room again.

KEYS[1] stream
ARGV[1] keep_from  id before which nothing is kept for a replay
ARGV[2] groups     msgpack list: groups that read this stream; while one of them is missing nothing is trimmed

Returns how many entries went.
]]
local stream = KEYS[1]
if redis.call('EXISTS', stream) == 0 then return 0 end

local function parts(id)
  local ms, seq = string.match(id, '^(%d+)-?(%d*)$')
  return tonumber(ms), tonumber(seq ~= '' and seq or '0')
end
local function before(a, b)
  local a_ms, a_seq = parts(a)
  local b_ms, b_seq = parts(b)
  return a_ms < b_ms or (a_ms == b_ms and a_seq < b_seq)
end

local limit, missing = ARGV[1], {}
for _, name in ipairs(cmsgpack.unpack(ARGV[2])) do missing[name] = true end
for _, row in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
  local group = {}
  for i = 1, #row, 2 do group[row[i]] = row[i + 1] end
  missing[group.name] = nil
  -- What the group was given last stays too: an id is needed to tell what was done from what never was.
  if before(group['last-delivered-id'], limit) then limit = group['last-delivered-id'] end
  local oldest = redis.call('XPENDING', stream, group.name)[2]
  if oldest and before(oldest, limit) then limit = oldest end
end
if next(missing) then return 0 end
return redis.call('XTRIM', stream, 'MINID', limit)
