//! The scripts of [`crate::store::queues`].

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
";

/// KEYS spool, queues, queue; ARGV the spool or '' for any, function, invocations. Returns 0 if the queues are of another.
pub(super) const ENQUEUE: &str = r"
if ARGV[1] ~= '' and redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SADD', KEYS[2], ARGV[2])
for i = 3, #ARGV do add(KEYS[3], ARGV[i]) end
return 1
";

/// KEYS queue, later, tried; ARGV now, how many, `>` for new ones or `0` for those that were taken before, function. Returns of each
/// its place in the queue, its name, and what came of it.
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
    taken[#taken + 1] = {place, fields[2], redis.call('HGET', KEYS[3], ARGV[4] .. ' ' .. fields[2]) or ''}
  else
    redis.call('XACK', KEYS[1], GROUP, place)
  end
end
return taken
";

/// KEYS queue, later, queues, tried, dead, done; ARGV place, function, invocation, `done`, `again`, `dead`, or `gone` of what
/// leaves no trace, what came of it, how many seconds it is known or when it is called again.
pub(super) const SETTLE: &str = r"
local how, name = ARGV[4], ARGV[2] .. ' ' .. ARGV[3]
if how == 'done' then redis.call('SET', KEYS[6], ARGV[5], 'EX', ARGV[6])
elseif how == 'dead' then redis.call('HSET', KEYS[5], name, ARGV[5])
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
