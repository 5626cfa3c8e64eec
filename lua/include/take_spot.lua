-- The newest spot wins (by provider time, then price). A price that moved, or a minute that turned, makes every pane
-- look again at its greeks, and the next publication at its header.
local SPOT_TRAIL_MS = 3600000

local function take_spot(names, symbol, epoch, price, ts, origin)
  local held = redis.call('GET', names.spot)
  local was = held and cjson.decode(held)
  local at = tonumber(ts)
  if was and (was.ts > at or (was.ts == at and was.price >= tonumber(price))) then return false end
  redis.call('SET', names.spot, '{"symbol":"' .. symbol .. '","price":' .. price .. ',"ts":' .. ts .. '}')
  redis.call('ZADD', names.spot_trail, ts, ts .. ':' .. price)
  redis.call('ZREMRANGEBYSCORE', names.spot_trail, '-inf', string.format('%.0f', at - SPOT_TRAIL_MS))
  local turned = not was or math.floor(was.ts / 60000) ~= math.floor(at / 60000)
  if epoch ~= '' and (turned or was.price ~= tonumber(price)) then
    for _, pane in ipairs(redis.call('HKEYS', names.geometry)) do
      mark(names, symbol, epoch, pane, {'spot'}, 'spot', ts, origin)
    end
    mark_model(names, symbol, epoch, 'header', ts, origin)
  end
  return true
end
