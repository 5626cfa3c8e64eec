-- The states of underlyings, folded over a stream in its order. `gone`, `wait` or `stale` is answered before anything is
-- written: an entry that another has folded, an older one that is still in somebody's hands (what is before it may go
-- on), a state that is not the one the caller folded from.
local function refused(stream, group, consumer, entries, sections)
  local left = own(stream, group, consumer, entries)
  if #left < #entries then return {'gone', unpack(left)} end
  local ours = {}
  for _, id in ipairs(entries) do ours[id] = true end
  for _, row in ipairs(redis.call('XPENDING', stream, group, '-', entries[#entries], #entries + 1)) do
    if not ours[row[1]] then return {'wait', row[1]} end
  end
  local stale = {}
  for _, s in ipairs(sections) do
    local held = redis.call('HMGET', s.state, s.part .. ':position', s.part .. ':state')
    if (held[1] or '') ~= s.expected then
      for _, word in ipairs({s.symbol, held[1] or '', held[2] or ''}) do stale[#stale + 1] = word end
    end
  end
  if #stale > 0 then return {'stale', unpack(stale)} end
  return nil
end

local function advance(sections)
  for _, s in ipairs(sections) do
    redis.call('HSET', s.state, s.part .. ':position', s.position, s.part .. ':state', s.value)
  end
end
