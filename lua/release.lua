#!lua
--[[
Hand an entry back at shutdown: so idle that the next sweep takes it at once, and without counting as a failed attempt.

KEYS[1] stream
ARGV[1] group
ARGV[2] consumer
ARGV[3] entry

Returns 1, or 0 where the entry is no longer this consumer's.
]]
local stream, group, consumer, entry = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local row = redis.call('XPENDING', stream, group, entry, entry, 1, consumer)[1]
if not row then return 0 end
redis.call('XCLAIM', stream, group, consumer, 0, entry, 'IDLE', 3600000, 'RETRYCOUNT', math.max(row[4] - 1, 0), 'JUSTID')
return 1
