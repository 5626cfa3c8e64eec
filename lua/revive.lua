#!lua
--[[
Put a dead letter back at the end of its stream and take it off the dead letters.

KEYS[1] dead
KEYS[2] stream
ARGV[1] letter     id of the dead letter
ARGV[2] fields     msgpack list: the entry's own fields and values

Returns 1, or 0 where the letter is gone.
]]
if redis.call('XDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('XADD', KEYS[2], '*', unpack(cmsgpack.unpack(ARGV[2])))
return 1
