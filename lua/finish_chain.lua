#!lua
--[[
A fetch job is finished: announce the chain it brought, if it brought one, plan the next fetch and acknowledge the job.

KEYS[1] jobs       stream of fetch jobs
KEYS[2] chains     stream of complete chains
KEYS[3] schedule   zset: symbol -> when the next fetch is due, ms
KEYS[4] job        hash: the job under way and the one that is wanted next
ARGV[1] group
ARGV[2] consumer
ARGV[3] entry      id of the job
ARGV[4] symbol
ARGV[5] due_ms     when the next fetch is due
ARGV[6] fields     msgpack list: the chain entry's fields and values, empty when the fetch failed

Returns 1, or 0 where another consumer had finished the job.
]]
local jobs, chains, schedule, job = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local group, consumer, entry, symbol, due_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local fields = cmsgpack.unpack(ARGV[6])

-- @include own
if #own(jobs, group, consumer, {entry}) == 0 then return 0 end

if #fields > 0 then redis.call('XADD', chains, '*', unpack(fields)) end
redis.call('ZADD', schedule, due_ms, symbol)
redis.call('HDEL', job, 'id', 'deadline_ms')
redis.call('XACK', jobs, group, entry)
return 1
