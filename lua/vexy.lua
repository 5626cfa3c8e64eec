#!lua
--[[
Commit a batch of publications: the documents of facts they make, the states they lead to and the acknowledgement, in
one call.

KEYS[1] stream     the stream the batch was read from
KEYS[2] history    stream of past documents
KEYS[3] analytics
ARGV[1] group
ARGV[2] consumer
ARGV[3] entries    msgpack list: ids of the batch in their order
ARGV[4] sections   msgpack list, one an underlying: {symbol, state (key), part (of the state), expected (position it was
                   folded from, or ''), position, value, document (key), made: {{ts, JSON}, ...} in their order}
ARGV[5] kept       about how many documents the history keeps
ARGV[6] ttl_s      how long a document stays when nothing is published

Returns {'ok'}; {'gone', id, ...} with what is left where another consumer had folded some; {'wait', id} where that older
entry is not done; {'stale', symbol, position, value, ...} with the states that others have advanced.
]]
local stream, history, analytics = KEYS[1], KEYS[2], KEYS[3]
local group, consumer, kept, ttl_s = ARGV[1], ARGV[2], ARGV[5], ARGV[6]
local entries, sections = cmsgpack.unpack(ARGV[3]), cmsgpack.unpack(ARGV[4])

-- @include own
-- @include fold
local refusal = refused(stream, group, consumer, entries, sections)
if refusal then return refusal end

advance(sections)
local count = 0
for _, s in ipairs(sections) do
  for _, made in ipairs(s.made) do
    redis.call('XADD', history, 'MAXLEN', '~', kept, '*', 'symbol', s.symbol, 'ts', made[1], 'payload', made[2])
    count = count + 1
  end
  if #s.made > 0 then redis.call('SET', s.document, s.made[#s.made][2], 'EX', ttl_s) end
end
redis.call('HINCRBY', analytics, 'entries', #entries)
if count > 0 then redis.call('HINCRBY', analytics, 'documents', count) end
redis.call('XACK', stream, group, unpack(entries))
return {'ok'}
