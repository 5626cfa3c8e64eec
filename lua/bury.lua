#!lua
--[[
Move an entry that cannot be done to the dead letters, whole and with its error, and acknowledge it.

KEYS[1] stream
KEYS[2] dead
ARGV[1] group
ARGV[2] consumer
ARGV[3] entry
ARGV[4] error
ARGV[5] attempts
ARGV[6] ts         wall time, ms
ARGV[7] fields     msgpack list: the entry's own fields behind `field:`, and their values

Returns 1, or 0 where another consumer had finished the entry.
]]
local stream, dead = KEYS[1], KEYS[2]
local group, consumer, entry, err, attempts, ts = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]

-- @include own
if #own(stream, group, consumer, {entry}) == 0 then return 0 end
redis.call('XADD', dead, '*', 'stage', group, 'stream', stream, 'id', entry, 'error', err, 'attempts', attempts,
  'ts', ts, unpack(cmsgpack.unpack(ARGV[7])))
redis.call('XACK', stream, group, entry)
return 1
