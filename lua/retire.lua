#!lua
--[[
Give a bounded number of a past epoch's keys their TTL; with the last of them the epoch is off the list.

KEYS[1] retiring
KEYS[2] active     symbol -> epoch
KEYS[3] staging    symbol -> epoch
ARGV[1] symbol
ARGV[2] epoch
ARGV[3] ttl_s
ARGV[4] keys       msgpack list
ARGV[5] last       1 with the last keys of the epoch

Returns 1; 0 where the epoch is in use (again) or was let go already.
]]
local symbol, epoch = ARGV[1], ARGV[2]
if redis.call('SISMEMBER', KEYS[1], epoch) == 0 then return 0 end
if redis.call('HGET', KEYS[2], symbol) == epoch or redis.call('HGET', KEYS[3], symbol) == epoch then return 0 end
for _, key in ipairs(cmsgpack.unpack(ARGV[4])) do redis.call('EXPIRE', key, ARGV[3]) end
if ARGV[5] == '1' then redis.call('SREM', KEYS[1], epoch) end
return 1
