//! The scripts of [`crate::store::queues`] and [`crate::store::invocations`].

/// Adds an invocation to the end of a queue. A stream without its group would be of no use.
pub(super) const ADD: &str = r"
local GROUP, CONSUMER = 'dispatcher', 'dispatcher'
local function add(queue, id)
  if redis.call('EXISTS', queue) == 0 then redis.call('XGROUP', 'CREATE', queue, GROUP, '0', 'MKSTREAM') end
  redis.call('XADD', queue, '*', 'id', id)
end
";

/// Takes away what nothing is in.
pub(super) const TIDY: &str = r"
local function tidy(queue, later, queues, name)
  if redis.call('EXISTS', queue) == 1 and redis.call('XLEN', queue) == 0 then redis.call('DEL', queue) end
  if redis.call('EXISTS', queue, later) == 0 then redis.call('SREM', queues, name) end
end
local function revive(dead, functions, name, id)
  local was_dead = redis.call('HDEL', dead, id) == 1
  if was_dead and redis.call('EXISTS', dead) == 0 then redis.call('SREM', functions, name) end
  return was_dead
end
";

/// KEYS queues, queue; ARGV function, invocations.
pub(super) const ENQUEUE: &str = r"
redis.call('SADD', KEYS[1], ARGV[1])
for i = 2, #ARGV do add(KEYS[2], ARGV[i]) end
";

/// KEYS queue, later, tried; ARGV now, how many, `>` for new ones or `0` for those that were taken before, function. Returns of
/// each its place in the queue, its name, and what came of it.
pub(super) const TAKE: &str = r"
if ARGV[3] == '>' then
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])) do
    add(KEYS[1], id)
    redis.call('ZREM', KEYS[2], id)
  end
end
local taken = {}
if redis.call('EXISTS', KEYS[1]) == 0 then return taken end
local read =
  redis.call('XREADGROUP', 'GROUP', GROUP, CONSUMER, 'COUNT', ARGV[2], 'STREAMS', KEYS[1], ARGV[3])
for _, entry in ipairs(read and read[1][2] or {}) do
  local place, fields = entry[1], entry[2]
  if fields then
    local tried = redis.call('HGET', KEYS[3], ARGV[4] .. ' ' .. fields[2])
    taken[#taken + 1] = {place, fields[2], tried or ''}
  else
    redis.call('XACK', KEYS[1], GROUP, place)
  end
end
return taken
";

/// KEYS queue, later, queues, tried, functions with dead ones, dead, done; ARGV place, function, invocation, `done`, `again`, `dead`, or
/// `gone` of what leaves no trace, what came of it, how many seconds it is known or when it is called again.
pub(super) const SETTLE: &str = r"
local how, name = ARGV[4], ARGV[2] .. ' ' .. ARGV[3]
if how == 'done' then redis.call('SET', KEYS[7], ARGV[5], 'EX', ARGV[6])
elseif how == 'dead' then
  redis.call('SADD', KEYS[5], ARGV[2])
  redis.call('HSET', KEYS[6], ARGV[3], ARGV[5])
elseif how == 'again' then
  redis.call('SADD', KEYS[3], ARGV[2])
  redis.call('HSET', KEYS[4], name, ARGV[5])
  redis.call('ZADD', KEYS[2], ARGV[6], ARGV[3])
end
if how ~= 'again' then redis.call('HDEL', KEYS[4], name) end
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('XACK', KEYS[1], GROUP, ARGV[1])
  redis.call('XDEL', KEYS[1], ARGV[1])
end
tidy(KEYS[1], KEYS[2], KEYS[3], ARGV[2])
";

/// Those of a queue that are being called, by their places.
pub(super) const CALLING: &str = r"
local function calling(queue)
  local places = {}
  if redis.call('EXISTS', queue) == 0 then return places, 0 end
  local taken = redis.call('XPENDING', queue, GROUP, '-', '+', 10000)
  for _, entry in ipairs(taken) do places[entry[1]] = true end
  return places, #taken
end
";

/// KEYS queue, later, dead. Returns how many wait, are being called, are to be called again, and are dead.
pub(super) const DEPTH: &str = r"
local _, count = calling(KEYS[1])
local all = redis.call('XLEN', KEYS[1])
return {all - count, count, redis.call('ZCARD', KEYS[2]), redis.call('HLEN', KEYS[3])}
";

/// KEYS queue, later, tried, dead; ARGV function, how many of each state at most. Returns of each its state, its name, and what came of
/// it.
pub(super) const LIST: &str = r"
local most, listed = tonumber(ARGV[2]), {}
local function list(state, id, tried) listed[#listed + 1] = {state, id, tried or ''} end
local function tried(id) return redis.call('HGET', KEYS[3], ARGV[1] .. ' ' .. id) end
local cursor, count = '0', 0
repeat
  local scanned = redis.call('HSCAN', KEYS[4], cursor, 'COUNT', most)
  cursor = scanned[1]
  for i = 1, #scanned[2], 2 do
    if count < most then list('dead', scanned[2][i], scanned[2][i + 1]) end
    count = count + 1
  end
until cursor == '0' or count >= most
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, most - 1)) do list('retrying', id, tried(id)) end
local places, taken = calling(KEYS[1])
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', most + taken)) do
  local id = entry[2][2]
  list(places[entry[1]] and 'calling' or 'waiting', id, tried(id))
end
return listed
";

/// KEYS queues, queue, later, functions with dead ones, dead; ARGV function, invocations. Returns how many are called again because of
/// that, at once.
pub(super) const RETRY: &str = r"
local count = 0
for i = 2, #ARGV do
  local id = ARGV[i]
  if revive(KEYS[5], KEYS[4], ARGV[1], id) or redis.call('ZREM', KEYS[3], id) == 1 then
    add(KEYS[2], id)
    redis.call('SADD', KEYS[1], ARGV[1])
    count = count + 1
  end
end
return count
";

/// KEYS queues, queue, later, tried, functions with dead ones, dead, removed; ARGV function, then of each invocation its name and its
/// place in the queue, or ''. Returns those that are removed by that. What is being called is not.
pub(super) const REMOVE: &str = r"
local removed, places = {}, calling(KEYS[2])
for i = 2, #ARGV, 2 do
  local id, place = ARGV[i], ARGV[i + 1]
  local was_dead = revive(KEYS[6], KEYS[5], ARGV[1], id)
  local was_later = redis.call('ZREM', KEYS[3], id) == 1
  local waited = place ~= '' and not places[place] and redis.call('XDEL', KEYS[2], place) == 1
  if was_dead or was_later or waited then
    redis.call('HDEL', KEYS[4], ARGV[1] .. ' ' .. id)
    redis.call('SADD', KEYS[7], ARGV[1] .. ' ' .. id)
    removed[#removed + 1] = id
  end
end
tidy(KEYS[2], KEYS[3], KEYS[1], ARGV[1])
return removed
";
