-- Whether nobody will ever do an entry: neither pending nor still to be delivered.
local function lost(stream, group, entry)
  if #redis.call('XPENDING', stream, group, entry, entry, 1) > 0 then return false end
  for _, row in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local facts = {}
    for i = 1, #row, 2 do facts[row[i]] = row[i + 1] end
    if facts.name == group then
      local ms, seq = string.match(entry, '^(%d+)-(%d+)$')
      local at, at_seq = string.match(facts['last-delivered-id'], '^(%d+)-(%d+)$')
      ms, seq, at, at_seq = tonumber(ms), tonumber(seq), tonumber(at), tonumber(at_seq)
      return ms < at or (ms == at and seq <= at_seq) or #redis.call('XRANGE', stream, entry, entry) == 0
    end
  end
  return false
end
