#!lua
--[[
Take a consumer off its group, but only when it owns nothing: deleting one that does would drop its entries.

KEYS[1] stream
ARGV[1] group
ARGV[2] consumer

Returns 1 when it was removed, 0 when it still owns entries.
]]
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then return 0 end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
return 1
