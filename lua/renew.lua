#!lua
--[[
Say that entries are still being worked on, so that no sweep takes them. Only the owner's: a claim could steal.

KEYS[1] stream
ARGV[1] group
ARGV[2] consumer
ARGV[3] entries    msgpack list of ids

Returns the ids that are still this consumer's.
]]
local stream, group, consumer = KEYS[1], ARGV[1], ARGV[2]
local owned = {}
for _, id in ipairs(cmsgpack.unpack(ARGV[3])) do
  if #redis.call('XPENDING', stream, group, id, id, 1, consumer) > 0 then
    redis.call('XCLAIM', stream, group, consumer, 0, id, 'IDLE', 0, 'JUSTID')
    owned[#owned + 1] = id
  end
end
return owned
