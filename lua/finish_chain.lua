#!lua
--[[
A fetch job is finished: announce the chain it brought, if it brought one, plan the next fetch and acknowledge the job.
A job that was given up for lost and finishes after all does not take the mark of the one queued in its place.

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
ARGV[7] owed       1 when the job was to force a new epoch and failed: the next job must force it

Returns 1, or 0 where another consumer had finished the job.
]]
local jobs, chains, schedule, job = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local group, consumer, entry, symbol, due_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local fields, owed = cmsgpack.unpack(ARGV[6]), ARGV[7] == '1'

-- @include own
if #own(jobs, group, consumer, {entry}) == 0 then return 0 end

if #fields > 0 then redis.call('XADD', chains, '*', unpack(fields)) end
redis.call('ZADD', schedule, due_ms, symbol)
local under_way = redis.call('HGET', job, 'id')
if not under_way or under_way == entry then redis.call('HDEL', job, 'id', 'deadline_ms', 'forced') end
-- Without `wanted`, so that it waits for its due time like any other.
if owed then redis.call('HSET', job, 'force', '1') end
redis.call('XACK', jobs, group, entry)
return 1
