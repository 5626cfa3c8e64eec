#!lua
--[[
Take a lock that is free, or keep the one that is held. It ends by itself when its holder no longer says so.

KEYS[1] lock
ARGV[1] token      the holder's own
ARGV[2] ttl_ms

Returns 1 when the lock is the caller's, 0 when it is another's.
]]
local lock, token, ttl_ms = KEYS[1], ARGV[1], ARGV[2]
local holder = redis.call('GET', lock)
if holder and holder ~= token then return 0 end
redis.call('SET', lock, token, 'PX', ttl_ms)
return 1
