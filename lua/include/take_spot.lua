-- The newest spot wins (by provider time, then price). A price that moved, or a minute that turned, leaves every pane its
-- greeks to compute, no tile, and the next publication its header.
local SPOT_TRAIL_MS = 3600000

-- The trail keeps each minute's newest spot, whatever order they come in; answers whether a minute's price changed.
local function leave_trail(names, price, ts)
  local at = tonumber(ts)
  local minute = math.floor(at / 60000) * 60000
  local held = redis.call('ZRANGEBYSCORE', names.spot_trail, string.format('%.0f', minute),
    string.format('%.0f', minute + 59999))[1]
  if held then
    local held_ts, held_price = string.match(held, '^(%d+):(.+)$')
    if tonumber(held_ts) > at or (tonumber(held_ts) == at and tonumber(held_price) >= tonumber(price)) then
      return false
    end
    redis.call('ZREM', names.spot_trail, held)
    redis.call('ZADD', names.spot_trail, ts, ts .. ':' .. price)
    return tonumber(held_price) ~= tonumber(price)
  end
  redis.call('ZADD', names.spot_trail, ts, ts .. ':' .. price)
  return true
end

local function take_spot(names, symbol, epoch, price, ts, origin)
  local held = redis.call('GET', names.spot)
  local was = held and cjson.decode(held)
  local at = tonumber(ts)
  local trailed = leave_trail(names, price, ts)
  if was and (was.ts > at or (was.ts == at and was.price >= tonumber(price))) then
    if trailed and epoch ~= '' then mark_model(names, symbol, epoch, 'header', ts, origin) end
    return trailed
  end
  redis.call('SET', names.spot, '{"symbol":"' .. symbol .. '","price":' .. price .. ',"ts":' .. ts .. '}')
  redis.call('ZREMRANGEBYSCORE', names.spot_trail, '-inf', string.format('%.0f', at - SPOT_TRAIL_MS))
  local turned = not was or math.floor(was.ts / 60000) ~= math.floor(at / 60000)
  if epoch ~= '' and (turned or was.price ~= tonumber(price)) then
    for _, pane in ipairs(redis.call('HKEYS', names.geometry)) do
      owe(names, symbol, epoch, pane, ts, origin)
    end
    mark_model(names, symbol, epoch, 'header', ts, origin)
  end
  return true
end
