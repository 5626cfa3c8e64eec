#!lua
--[[
Publish: each document's next version, stored and announced, and the lease let go, in one call. A diff patches the
stored document in place, so that what is written is what changed. A stale token changes nothing. Where much has changed
a publication is made in parts, each of them whole versions: the lease then goes on under the next token.

KEYS[1] stream     diff stream
KEYS[2] models     model stream
KEYS[3] minutes    zset: final minutes of Dealer Gravity
ARGV[1] group
ARGV[2] entry
ARGV[3] symbol
ARGV[4] epoch
ARGV[5] token
ARGV[6] ts         oldest event behind it, for the next turn where nothing is known of that one's
ARGV[7] origin     the entry of that event
ARGV[8] now_ms     wall time, for the age of models alone
ARGV[9] ttl_s      how long a document stays when nobody publishes
ARGV[10] owing     1 where what rests on greeks is still to be published
ARGV[11] documents msgpack list: {model, key, fresh (where a full one lies ready, or '': its payload is the document),
                   kind, base, version, length, announced, payload, payload_key (where a large one lies ready, or ''),
                   seq, greeks (JSON: the commits its panes' values, and a heatmap's heads, were computed at), ts,
                   origin (of the oldest event behind it),
                   patches {offset, bytes, ...}, taken {offset, place, ...}: what a view takes over of the patches of the
                   first document, and where they are in its list}
ARGV[12] names     msgpack map: the keys of the epoch and its underlying
ARGV[13] minute    Dealer Gravity's open minute, JSON
ARGV[14] final     the minute it closes, JSON, or ''
ARGV[15] final_ms  its time
ARGV[16] next_token  under which the lease goes on, or '' with the last part
ARGV[17] publication  names this part among all, for the record

Returns 1; 0 for a stale token (a promotion takes every lease away, so a valid one is of the active epoch); -1 where a
document is not stored as it should be: the lease is kept and the caller writes it full.
]]
local stream, models, minutes = KEYS[1], KEYS[2], KEYS[3]
local MINUTES_MS = 86400000
local group, entry, symbol, epoch, token = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local ts, origin, now_ms, ttl_s, owing = ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10] == '1'
local documents, names, next_token, publication = cmsgpack.unpack(ARGV[11]), cmsgpack.unpack(ARGV[12]), ARGV[16], ARGV[17]

-- @include mark_model

local holder = redis.call('GET', names.models_lease)
if holder ~= token then return (holder and holder == next_token) and 1 or 0 end -- 1: this part was sent again
for _, document in ipairs(documents) do
  local at = document.kind == 'full' and document.fresh or document.key
  if at ~= '' and redis.call('STRLEN', at) ~= document.length then return -1 end
end

for _, document in ipairs(documents) do
  if document.kind == 'full' and document.fresh == '' then
    redis.call('SET', document.key, document.payload)
  elseif document.kind == 'full' then
    redis.call('RENAME', document.fresh, document.key) -- written beforehand in pieces: a model is many megabytes
  else
    for i = 1, #document.patches, 2 do
      redis.call('SETRANGE', document.key, document.patches[i], document.patches[i + 1])
    end
    for i = 1, #document.taken, 2 do
      redis.call('SETRANGE', document.key, document.taken[i], documents[1].patches[document.taken[i + 1]])
    end
  end
  if document.kind == 'full' then redis.call('HDEL', names.models_state, 'greeks_ts') end -- nothing is older any more
  redis.call('EXPIRE', document.key, ttl_s)
  redis.call('HSET', names.models_state, document.model .. ':version', document.version,
    document.model .. ':epoch', epoch, document.model .. ':ts', now_ms)
  if document.announced then
    redis.call('XADD', models, '*', 'symbol', symbol, 'model', document.model, 'kind', document.kind, 'epoch', epoch,
      'version', document.version, 'base', document.base, 'seq', document.seq, 'greeks', document.greeks, 'publication',
      publication, 'ts', document.ts, 'origin', document.origin, 'payload', document.payload, 'payload_key', document.payload_key)
    redis.call('HINCRBY', names.analytics, document.kind, 1)
  end
end
redis.call('HSET', names.models_state, 'minute', ARGV[13])
if ARGV[14] ~= '' then
  redis.call('ZADD', minutes, ARGV[15], ARGV[14])
  redis.call('EXPIRE', minutes, ttl_s)
  redis.call('ZREMRANGEBYSCORE', minutes, '-inf', string.format('%.0f', tonumber(ARGV[15]) - MINUTES_MS))
end
if next_token ~= '' then
  redis.call('SET', names.models_lease, next_token)
  return 1
end
redis.call('DEL', names.models_lease)
redis.call('XACK', stream, group, entry)
if owing or string.match(redis.call('HGET', names.models_state, 'owed') or '', '^@') then
  owe_models(names, symbol, epoch, ts)
end
if redis.call('EXISTS', names.models_dirty) == 1 then
  local _, next_ts, next_origin = string.match(redis.call('HGET', names.models_state, 'queued') or '',
    '^([^|]*)|([^|]*)|(.*)$')
  queue_model(names, symbol, epoch, next_ts or ts, next_origin or origin)
end
return 1
