#!lua
--[[
Give a lock up, so that the next in line need not wait for its end.

KEYS[1] lock
ARGV[1] token      the holder's own

Returns 1, or 0 where it was another's already.
]]
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
