#!lua
--[[
Commit a batch of publications: the events they make, the states they lead to and the acknowledgement, in one call.

KEYS[1] stream     the stream the batch was read from
KEYS[2] events     event stream
KEYS[3] analytics
ARGV[1] group
ARGV[2] consumer
ARGV[3] entries    msgpack list: ids of the batch in their order
ARGV[4] sections   msgpack list, one an underlying: {symbol, state (key), part (of the state), expected (position it was
                   folded from, or ''), position, value, events: {{field, value, ...}, ...}}
ARGV[5] kept       about how many events the stream keeps

Returns {'ok'}; {'gone', id, ...} with what is left where another consumer had folded some; {'wait', id} where that older
entry is not done; {'stale', symbol, position, value, ...} with the states that others have advanced.
]]
local stream, events, analytics = KEYS[1], KEYS[2], KEYS[3]
local group, consumer, kept = ARGV[1], ARGV[2], ARGV[5]
local entries, sections = cmsgpack.unpack(ARGV[3]), cmsgpack.unpack(ARGV[4])

-- @include own
-- @include fold
local refusal = refused(stream, group, consumer, entries, sections)
if refusal then return refusal end

advance(sections)
local count = 0
for _, s in ipairs(sections) do
  for _, event in ipairs(s.events) do
    redis.call('XADD', events, 'MAXLEN', '~', kept, '*', unpack(event))
    count = count + 1
  end
end
redis.call('HINCRBY', analytics, 'entries', #entries)
if count > 0 then redis.call('HINCRBY', analytics, 'events', count) end
redis.call('XACK', stream, group, unpack(entries))
return {'ok'}
