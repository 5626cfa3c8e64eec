#!lua
--[[
Queue a fetch of an underlying's chain when it is due or wanted and none is under way. One job at a time: the finished
fetch plans the next.

KEYS[1] jobs       stream of fetch jobs
KEYS[2] schedule   zset: symbol -> when the next fetch is due, ms
KEYS[3] job        hash: the job under way (id, deadline_ms, forced), the one wanted next (wanted, force)
ARGV[1] symbol
ARGV[2] now_ms     wall time
ARGV[3] patience_ms after so long a job under way counts as lost: another takes its place, and its force

Returns the reason of the job, or '' when there is nothing to do.
]]
local jobs, schedule, job = KEYS[1], KEYS[2], KEYS[3]
local symbol, now_ms, patience_ms = ARGV[1], ARGV[2], ARGV[3]
local facts = redis.call('HMGET', job, 'deadline_ms', 'wanted', 'force', 'forced')
if facts[1] and tonumber(facts[1]) > tonumber(now_ms) then return '' end
local due = redis.call('ZSCORE', schedule, symbol)
if not facts[1] and not facts[2] and due and tonumber(due) > tonumber(now_ms) then return '' end
local reason = facts[2] or (due and 'interval') or 'startup'
local force = (facts[3] == '1' or facts[4] == '1') and '1' or '0'
local id = redis.call('XADD', jobs, '*', 'symbol', symbol, 'reason', reason, 'force', force, 'ts', now_ms)
redis.call('HSET', job, 'id', id, 'deadline_ms', string.format('%.0f', tonumber(now_ms) + tonumber(patience_ms)),
  'forced', force)
redis.call('HDEL', job, 'wanted', 'force')
return reason
