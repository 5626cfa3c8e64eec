-- What a contract's trades did to the dealers' delta, in whole dollars by second, so that the sum is the same in any
-- order: -(signed size) * delta * multiplier * spot, signed by the quote rule (at or above the ask a customer bought, at
-- or below the bid one sold, a locked or missing quote says nothing). A trade counts once: when it is newer than the
-- newest the contract has seen; `trades` come in the order of time and sequence.
local FLOW_TTL_S = 259200

local function add_flow(names, key, trades, seen_ts, seen_seq, spot)
  local held = redis.call('HMGET', key, 'bid', 'ask', 'delta', 'multiplier')
  local bid, ask, delta, multiplier = tonumber(held[1]), tonumber(held[2]), tonumber(held[3]), tonumber(held[4])
  if not (bid and ask and delta and bid < ask) then return end
  for i = 1, #trades, 4 do
    local ts, seq = tonumber(trades[i]), tonumber(trades[i + 1])
    local price, size = tonumber(trades[i + 2]), tonumber(trades[i + 3])
    local sign = (price >= ask and 1) or (price <= bid and -1) or 0
    local fresh = ts > seen_ts or (ts == seen_ts and seq > seen_seq)
    if fresh then seen_ts, seen_seq = ts, seq end
    if fresh and sign ~= 0 then
      local usd = math.floor(-sign * size * delta * multiplier * spot + 0.5)
      redis.call('HINCRBY', names.flow_delta, string.format('%.0f', math.floor(ts / 1000) * 1000),
        string.format('%.0f', usd))
      redis.call('EXPIRE', names.flow_delta, FLOW_TTL_S)
    end
  end
end
