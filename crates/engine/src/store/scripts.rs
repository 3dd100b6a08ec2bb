//! The Lua scripts. `KEYS` and `ARGV` are in the order in which [`super::Store`] gives them.

mod queues;

use redis::Script;

use queues::{ADD, CALLING, TIDY};

pub(super) struct Scripts {
    pub deploy: Script,
    pub remove: Script,
    pub lease_any: Script,
    pub renew: Script,
    pub lock: Script,
    pub next_address: Script,
    pub claim: Script,
    pub unlock: Script,
    pub died: Script,
    pub release: Script,
    pub register: Script,
    pub withhold: Script,
    pub fence: Script,
    pub keep: Script,
    pub take: Script,
    pub drain: Script,
    pub forget: Script,
    pub keep_build: Script,
    pub swap_calls: Script,
    pub enqueue: Script,
    pub take_invocations: Script,
    pub settle: Script,
    pub depth: Script,
    pub list_invocations: Script,
    pub retry_invocations: Script,
    pub remove_invocations: Script,
}

impl Default for Scripts {
    fn default() -> Self {
        Self {
            deploy: Script::new(&format!("{FORGET_ROUTES}{DEPLOY}")),
            remove: Script::new(&format!("{FORGET_ROUTES}{REMOVE}")),
            lease_any: Script::new(&format!("{EXTEND}{LEASE_ANY}")),
            renew: Script::new(&format!("{EXTEND}{RENEW}")),
            lock: Script::new(LOCK),
            next_address: Script::new(NEXT_ADDRESS),
            claim: Script::new(CLAIM),
            unlock: Script::new(&[FAIL, NEXT_TURN, UNLOCK].concat()),
            died: Script::new(&[FAIL, DIED].concat()),
            release: Script::new(RELEASE),
            register: Script::new(&[EXTEND, NEXT_TURN, REGISTER].concat()),
            withhold: Script::new(WITHHOLD),
            fence: Script::new(&[OTHERS, FENCE].concat()),
            keep: Script::new(KEEP),
            take: Script::new(TAKE),
            drain: Script::new(DRAIN),
            forget: Script::new(FORGET),
            keep_build: Script::new(KEEP_BUILD),
            swap_calls: Script::new(SWAP_CALLS),
            enqueue: Script::new(&[ADD, queues::ENQUEUE].concat()),
            take_invocations: Script::new(&[ADD, queues::TAKE].concat()),
            settle: Script::new(&[ADD, TIDY, queues::SETTLE].concat()),
            depth: Script::new(&[ADD, CALLING, queues::DEPTH].concat()),
            list_invocations: Script::new(&[ADD, CALLING, queues::LIST].concat()),
            retry_invocations: Script::new(&[ADD, TIDY, queues::RETRY].concat()),
            remove_invocations: Script::new(&[ADD, CALLING, TIDY, queues::REMOVE].concat()),
        }
    }
}

/// KEYS addresses; ARGV a random number. Returns the next address's number.
const NEXT_ADDRESS: &str = r"
local function fact(section, name) return redis.call('INFO', section):match(name .. ':(%x+)') or '' end
local now = fact('server', 'run_id') .. ' ' .. fact('replication', 'master_replid')
if redis.call('HGET', KEYS[1], 'since') ~= now then redis.call('HSET', KEYS[1], 'since', now, 'count', ARGV[1]) end
return redis.call('HINCRBY', KEYS[1], 'count', 1)
";

/// Leases are only ever made longer: another host, or the nginx that is being upgraded, may rely on
/// what it was promised for longer than we want.
const EXTEND: &str = r"
local function extend(lease, ttl)
  if redis.call('PTTL', lease) < tonumber(ttl) then redis.call('SET', lease, ttl, 'PX', ttl) end
end
";

/// Takes away the routes that a function's record names, so that it takes no longer the more functions there are.
const FORGET_ROUTES: &str = r"
local function forget_routes(functions, routes, name)
  local record = redis.call('HGET', functions, name)
  for _, route in ipairs(record and cjson.decode(record).config.routes or {}) do
    if redis.call('HGET', routes, route) == name then redis.call('HDEL', routes, route) end
  end
end
";

/// KEYS functions, routes, events, instances, and of each deployment failures and pause, and if it has a first
/// instance, ready, lease and claim; ARGV for each deployment JSON of `super::deployments::Deploying`. Returns nothing, a
/// route and its other owner, or that a claim has lapsed.
///
/// Either all is done or nothing. The instance is told of before the deployment, so that no router ever has one without
/// the other.
const DEPLOY: &str = r"
local deployments, key = {}, 5
for i = 1, #ARGV do
  local new = cjson.decode(ARGV[i])
  new.failures, new.pause = KEYS[key], KEYS[key + 1]
  key = key + 2
  if new.first then
    new.ready, new.lease, new.claim = KEYS[key], KEYS[key + 1], KEYS[key + 2]
    key = key + 3
  end
  deployments[i] = new
end
for _, new in ipairs(deployments) do
  for _, route in ipairs(new.routes) do
    local owner = redis.call('HGET', KEYS[2], route)
    if owner and owner ~= new.function_name then return {route, owner} end
  end
  local first = new.first
  if first and redis.call('EXISTS', new.claim) == 0 and redis.call('HEXISTS', KEYS[4], first.id) == 0 then
    return {'lapsed'}
  end
end
for _, new in ipairs(deployments) do
  local first = new.first
  if first then
    redis.call('DEL', new.claim)
    redis.call('HSET', KEYS[4], first.id, first.record)
    redis.call('SADD', new.ready, first.id)
    redis.call('SET', new.lease, first.ttl, 'PX', first.ttl)
    redis.call('PUBLISH', KEYS[3], first.event)
  end
  forget_routes(KEYS[1], KEYS[2], new.function_name)
  for _, route in ipairs(new.routes) do redis.call('HSET', KEYS[2], route, new.function_name) end
  redis.call('HSET', KEYS[1], new.function_name, new.record)
  redis.call('DEL', new.failures, new.pause)
  redis.call('PUBLISH', KEYS[3], new.event)
end
return {}
";

/// KEYS functions, routes, events, failures, pause; ARGV function, event, the route that each function has. Returns 1 if it
/// was there.
const REMOVE: &str = r"
forget_routes(KEYS[1], KEYS[2], ARGV[1])
if redis.call('HGET', KEYS[2], ARGV[3]) == ARGV[1] then redis.call('HDEL', KEYS[2], ARGV[3]) end
redis.call('DEL', KEYS[4], KEYS[5])
local removed = redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('PUBLISH', KEYS[3], ARGV[2])
return removed
";

/// KEYS ready, instances; ARGV revision, TTL, lease prefix. Returns the instance, or nothing.
const LEASE_ANY: &str = r"
for _, id in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local text = redis.call('HGET', KEYS[2], id)
  if text and cjson.decode(text).revision == ARGV[1] then
    extend(ARGV[3] .. id, ARGV[2])
    return text
  end
end
return false
";

/// KEYS instances, then ready and lease of each; ARGV the longest lease of one that drains, then
/// instance and TTL of each. Returns for each 1 if renewed, 0 if draining, -1 if unknown. What
/// drains keeps a lease that it has.
const RENEW: &str = r"
local answers = {}
for i = 2, #ARGV, 2 do
  local answer, ttl = 1, ARGV[i + 1]
  if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 0 then answer = -1
  elseif redis.call('SISMEMBER', KEYS[i], ARGV[i]) == 0 then
    answer = 0
    if redis.call('EXISTS', KEYS[i + 1]) == 1 then extend(KEYS[i + 1], math.min(ttl, ARGV[1])) end
  else extend(KEYS[i + 1], ttl) end
  answers[#answers + 1] = answer
end
return answers
";

/// KEYS lock; ARGV token, TTL. Takes it, or renews one's own. Returns 1 if the token holds it.
const LOCK: &str = r"
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
";

/// KEYS lock, starting, waiting, pause, functions; ARGV token, TTL, start, permits, prefix of locks,
/// prefix of turns, their TTL, function, revision, way (`super::starts::Way`), how many of those who wait are looked at.
/// Returns 1 if the token holds the lock and a permit, 0 if another holds the lock, 2 if there is no permit, 3 with failure
/// and time left if the function is backed off, 4 if another revision is deployed, 5 if the token holds the lock alone.
///
/// Who waits gets a permit in turn: a start goes ahead if, of those before it that are still waited
/// for, there are fewer than permits are free. A start from a sandbox alone goes ahead unless others wait for whom a sandbox
/// would do as well, and a thaw in any case. The lock is written before anything is deleted: a Redis that is out of memory
/// refuses what needs some, but not after a script has changed something.
const CLAIM: &str = r"
local deployed = redis.call('HGET', KEYS[5], ARGV[8])
if deployed and cjson.decode(deployed).revision ~= ARGV[9] then return {4, '', 0} end
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return {0, '', 0} end
if not holder then
  local failure = redis.call('GET', KEYS[4])
  if failure then return {3, failure, redis.call('PTTL', KEYS[4])} end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if not holder or redis.call('SISMEMBER', KEYS[2], ARGV[3]) == 0 then
  local waits = ARGV[10] == 'image' and 'image' or 'sandbox'
  local alone = ARGV[10] == 'sandbox' or ARGV[10] == 'frozen'
  for _, name in ipairs(ARGV[10] == 'sandbox' and redis.call('ZRANGE', KEYS[3], 0, ARGV[11] - 1) or {}) do
    if name ~= ARGV[3] and redis.call('GET', ARGV[6] .. name) == 'sandbox' then alone = false end
  end
  if alone then return {5, '', 0} end
  local permits = tonumber(ARGV[4])
  if redis.call('SCARD', KEYS[2]) >= permits then
    for _, name in ipairs(redis.call('SMEMBERS', KEYS[2])) do
      if redis.call('EXISTS', ARGV[5] .. name) == 0 then redis.call('SREM', KEYS[2], name) end
    end
  end
  local free = permits - redis.call('SCARD', KEYS[2])
  local goes, gone = false, free > 0
  while gone do
    gone = false
    goes = true
    local ahead = 0
    for _, name in ipairs(redis.call('ZRANGE', KEYS[3], 0, free - 1)) do
      if name == ARGV[3] then break end
      if redis.call('EXISTS', ARGV[6] .. name) == 1 then ahead = ahead + 1
      else gone = redis.call('ZREM', KEYS[3], name) == 1 end
    end
    goes = ahead < free
  end
  if not goes then
    if not redis.call('ZSCORE', KEYS[3], ARGV[3]) then
      local last = redis.call('ZREVRANGE', KEYS[3], 0, 0, 'WITHSCORES')[2]
      redis.call('ZADD', KEYS[3], (tonumber(last) or 0) + 1, ARGV[3])
    end
    redis.call('SET', ARGV[6] .. ARGV[3], waits, 'PX', ARGV[7])
    redis.call('DEL', KEYS[1])
    return {2, '', 0}
  end
  redis.call('ZREM', KEYS[3], ARGV[3])
  redis.call('DEL', ARGV[6] .. ARGV[3])
end
redis.call('SADD', KEYS[2], ARGV[3])
return {1, '', 0}
";

/// Tells the first of those who wait for a permit, and are still there, that one is free.
const NEXT_TURN: &str = r"
local function next_turn(waiting, prefix, event, events)
  local name = redis.call('ZRANGE', waiting, 0, 0)[1]
  while name and redis.call('EXISTS', prefix .. name) == 0 do
    redis.call('ZREM', waiting, name)
    name = redis.call('ZRANGE', waiting, 0, 0)[1]
  end
  if name then
    event = cjson.decode(event)
    event['function'], event.revision = string.match(name, '^([^:]*):(.*)$')
    redis.call('PUBLISH', events, cjson.encode(event))
  end
end
";

/// Counts a failure of the deployed revision; returns the pause, 0 if there is none, and the event
/// with it.
const FAIL: &str = r"
local function fail(functions, failures, pause, name, revision, event, pauses, memory)
  local deployed = redis.call('HGET', functions, name)
  if not deployed or cjson.decode(deployed).revision ~= revision then return 0, event end
  pauses = cjson.decode(pauses)
  local time = pauses[math.min(redis.call('INCR', failures), #pauses)]
  redis.call('PEXPIRE', failures, time + memory)
  if time == 0 then return 0, event end
  event = cjson.decode(event)
  redis.call('SET', pause, cjson.encode(event.failure), 'PX', time)
  event.failure.retry_ms = time
  event.revision = revision
  return time, cjson.encode(event)
end
";

/// KEYS lock, events, starting, waiting, functions, failures, pause; ARGV token, function,
/// revision, event, pauses, memory, 1 if the failure counts, prefix of turns, event of a turn, start.
/// Returns the pause.
const UNLOCK: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return math.max(redis.call('PTTL', KEYS[7]), 0) end
redis.call('DEL', KEYS[1])
redis.call('SREM', KEYS[3], ARGV[10])
local time, event = 0, ARGV[4]
if ARGV[7] == '1' then
  time, event = fail(KEYS[5], KEYS[6], KEYS[7], ARGV[2], ARGV[3], event, ARGV[5], ARGV[6])
end
redis.call('PUBLISH', KEYS[2], event)
next_turn(KEYS[4], ARGV[8], ARGV[9], KEYS[2])
return time
";

/// KEYS young, events, functions, failures, pause; ARGV function, event, pauses, memory, prefix of
/// locks. Returns the pause. Whoever waits for a start that is under way already goes on doing so.
const DIED: &str = r"
local revision = redis.call('GET', KEYS[1])
if not revision then return 0 end
redis.call('DEL', KEYS[1])
local time, event =
  fail(KEYS[3], KEYS[4], KEYS[5], ARGV[1], revision, ARGV[2], ARGV[3], ARGV[4])
local lock = ARGV[5] .. ARGV[1] .. ':' .. revision
if time > 0 and redis.call('EXISTS', lock) == 0 then redis.call('PUBLISH', KEYS[2], event) end
return time
";

/// KEYS lock; ARGV token.
const RELEASE: &str = r"
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
";

/// KEYS instances, ready, lease, lock, events, starting, waiting, failures, pause, young; ARGV
/// instance, record, TTL, token or '', event, start, revision, how long a success must last,
/// prefix of turns, event of a turn. Returns 0 if the token doesn't hold the lock.
const REGISTER: &str = r"
if ARGV[4] ~= '' then
  if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then return 1 end
  if redis.call('GET', KEYS[4]) ~= ARGV[4] then return 0 end
  redis.call('DEL', KEYS[4], KEYS[9])
  redis.call('SREM', KEYS[6], ARGV[6])
  redis.call('PEXPIRE', KEYS[8], ARGV[8])
  redis.call('SET', KEYS[10], ARGV[7], 'PX', ARGV[8])
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('SADD', KEYS[2], ARGV[1])
extend(KEYS[3], ARGV[3])
redis.call('PUBLISH', KEYS[5], ARGV[5])
if ARGV[4] ~= '' then next_turn(KEYS[7], ARGV[9], ARGV[10], KEYS[5]) end
return 1
";

/// KEYS instances, ready, lease, events; ARGV instance, event, the longest lease it keeps.
const WITHHOLD: &str = r"
if redis.call('PTTL', KEYS[3]) > tonumber(ARGV[3]) then
  redis.call('SET', KEYS[3], ARGV[3], 'PX', ARGV[3])
end
if redis.call('SREM', KEYS[2], ARGV[1]) == 1 then redis.call('PUBLISH', KEYS[4], ARGV[2]) end
";

/// How many other instances of a revision are ready or frozen.
const OTHERS: &str = r"
local function others(sets, instances, one, revision)
  local count = 0
  for _, id in ipairs(redis.call('SUNION', unpack(sets))) do
    local text = id ~= one and redis.call('HGET', instances, id)
    if text and cjson.decode(text).revision == revision then count = count + 1 end
  end
  return count
end
";

/// KEYS instances, ready, lease, events, young, frozen, kept, watch, functions; ARGV instance, event, and if it may be frozen
/// or stand by, function, revision, the idle time of a function that sets none, and the event that it is leased. Returns 0 if
/// it is leased, or not there any more, 2 if it is not leased but the watch has lapsed, 1 if it is fenced for being stopped,
/// and 3 for being frozen.
///
/// One without which there would be fewer than `scale.min` is not stopped: it is leased anew, or kept frozen.
///
/// A lease that lasts for longer than it was given for, since Redis' clock was put back, is
/// shortened. The lease is written before the fence: a Redis that refuses writes, and with them
/// renewals, refuses this too.
const FENCE: &str = r"
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
local granted = redis.call('GET', KEYS[3])
if granted then
  if redis.call('PTTL', KEYS[3]) > tonumber(granted) then
    redis.call('PEXPIRE', KEYS[3], granted)
  end
  return 0
end
if redis.call('EXISTS', KEYS[8]) == 0 then return 2 end
redis.call('SET', KEYS[3], 0, 'PX', 1)
local record = ARGV[3] and redis.call('HGET', KEYS[9], ARGV[3])
local deployed = record and cjson.decode(record)
local config = deployed and deployed.revision == ARGV[4] and deployed.config or {}
local idle = config.idle_ms or tonumber(ARGV[5])
local left = config.freeze_ms and idle - config.freeze_ms
if left and left < 1 then left = nil end
local frozen = redis.call('SISMEMBER', KEYS[6], ARGV[1]) == 1
if config.min_instances and (frozen or not left)
  and others({KEYS[2], KEYS[6]}, KEYS[1], ARGV[1], ARGV[4]) < config.min_instances then
  if frozen then
    redis.call('SET', KEYS[7], 1, 'PX', left or idle)
  else
    local event = cjson.decode(ARGV[6])
    event.lease_ms = idle
    redis.call('SET', KEYS[3], idle, 'PX', idle)
    redis.call('PUBLISH', KEYS[4], cjson.encode(event))
  end
  return 0
end
redis.call('DEL', KEYS[3], KEYS[5], KEYS[7])
redis.call('SREM', KEYS[6], ARGV[1])
if redis.call('SREM', KEYS[2], ARGV[1]) == 1 then redis.call('PUBLISH', KEYS[4], ARGV[2]) end
if frozen or not left then return 1 end
redis.call('SET', KEYS[7], 1, 'PX', left)
return 3
";

/// KEYS instances, frozen, kept; ARGV instance. Returns 0 if it is not to be kept any more.
const KEEP: &str = r"
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 or redis.call('EXISTS', KEYS[3]) == 0 then return 0 end
redis.call('SADD', KEYS[2], ARGV[1])
return 1
";

/// KEYS frozen, instances, lock; ARGV revision, token, prefix of kept. Returns the instance, or nothing. From here on it
/// belongs to whoever holds the lock, as one that is being started does.
const TAKE: &str = r"
if redis.call('GET', KEYS[3]) ~= ARGV[2] then return false end
for _, id in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local text = redis.call('HGET', KEYS[2], id)
  if text and cjson.decode(text).revision == ARGV[1] then
    redis.call('SREM', KEYS[1], id)
    redis.call('HDEL', KEYS[2], id)
    redis.call('DEL', ARGV[3] .. id)
    return text
  end
end
return false
";

/// KEYS and ARGV as of FENCE, whether it is leased or not.
const DRAIN: &str = r"
redis.call('DEL', KEYS[3], KEYS[5], KEYS[7])
redis.call('SREM', KEYS[6], ARGV[1])
if redis.call('SREM', KEYS[2], ARGV[1]) == 1 then redis.call('PUBLISH', KEYS[4], ARGV[2]) end
";

/// KEYS and ARGV as of FENCE.
const FORGET: &str = r"
redis.call('DEL', KEYS[3], KEYS[7])
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('SREM', KEYS[6], ARGV[1])
if redis.call('SREM', KEYS[2], ARGV[1]) == 1 then redis.call('PUBLISH', KEYS[4], ARGV[2]) end
";

/// KEYS schedules; ARGV line, what it was or '', what it is to be. Returns 1 if it is that now. (The second time, too.)
const SWAP_CALLS: &str = r"
local now = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if now == ARGV[3] then return 1 end
if now ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
";

/// KEYS builds, built; ARGV build, JSON of it, the count that it adds to or nothing, how many are kept, prefix of logs.
const KEEP_BUILD: &str = r"
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if ARGV[3] ~= '' then
  redis.call('HINCRBY', KEYS[2], ARGV[3], 1)
end
local all = redis.call('HKEYS', KEYS[1])
local surplus = #all - tonumber(ARGV[4])
if surplus > 0 then
  table.sort(all)
  for at = 1, surplus do
    redis.call('HDEL', KEYS[1], all[at])
    redis.call('DEL', ARGV[5] .. all[at])
  end
end
";
