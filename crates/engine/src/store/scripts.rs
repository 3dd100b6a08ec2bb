//! The Lua scripts. `KEYS` and `ARGV` are in the order in which [`super::Store`] gives them.

use redis::Script;

pub(super) struct Scripts {
    pub deploy: Script,
    pub remove: Script,
    pub lease_any: Script,
    pub renew: Script,
    pub lock: Script,
    pub unlock: Script,
    pub release: Script,
    pub register: Script,
    pub fence: Script,
    pub drain: Script,
    pub forget: Script,
}

impl Default for Scripts {
    fn default() -> Self {
        Self {
            deploy: Script::new(DEPLOY),
            remove: Script::new(REMOVE),
            lease_any: Script::new(LEASE_ANY),
            renew: Script::new(RENEW),
            lock: Script::new(LOCK),
            unlock: Script::new(UNLOCK),
            release: Script::new(RELEASE),
            register: Script::new(REGISTER),
            fence: Script::new(FENCE),
            drain: Script::new(DRAIN),
            forget: Script::new(FORGET),
        }
    }
}

/// KEYS functions, routes, events; ARGV function, deployment, event, route… Returns nothing, or a
/// route and its other owner.
const DEPLOY: &str = r"
for i = 4, #ARGV do
  local owner = redis.call('HGET', KEYS[2], ARGV[i])
  if owner and owner ~= ARGV[1] then return {ARGV[i], owner} end
end
local routes = redis.call('HGETALL', KEYS[2])
for i = 1, #routes, 2 do
  if routes[i + 1] == ARGV[1] then redis.call('HDEL', KEYS[2], routes[i]) end
end
for i = 4, #ARGV do redis.call('HSET', KEYS[2], ARGV[i], ARGV[1]) end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PUBLISH', KEYS[3], ARGV[3])
return {}
";

/// KEYS functions, routes, events; ARGV function, event. Returns 1 if it was there.
const REMOVE: &str = r"
local routes = redis.call('HGETALL', KEYS[2])
for i = 1, #routes, 2 do
  if routes[i + 1] == ARGV[1] then redis.call('HDEL', KEYS[2], routes[i]) end
end
local removed = redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('PUBLISH', KEYS[3], ARGV[2])
return removed
";

/// KEYS ready, instances; ARGV revision, TTL, lease prefix. Returns the instance, or nothing.
const LEASE_ANY: &str = r"
for _, id in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local text = redis.call('HGET', KEYS[2], id)
  if text and cjson.decode(text).revision == ARGV[1] then
    redis.call('SET', ARGV[3] .. id, 1, 'PX', ARGV[2])
    return text
  end
end
return false
";

/// KEYS instances, then ready and lease of each; ARGV instance and TTL of each. Returns for each 1
/// if renewed, 0 if draining, -1 if unknown.
const RENEW: &str = r"
local answers = {}
for i = 1, #ARGV, 2 do
  local answer = 1
  if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 0 then answer = -1
  elseif redis.call('SISMEMBER', KEYS[i + 1], ARGV[i]) == 0 then answer = 0
  else redis.call('SET', KEYS[i + 2], 1, 'PX', ARGV[i + 1]) end
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

/// KEYS lock, events; ARGV token, event.
const UNLOCK: &str = r"
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
  redis.call('PUBLISH', KEYS[2], ARGV[2])
end
";

/// KEYS lock; ARGV token.
const RELEASE: &str = r"
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
";

/// KEYS instances, ready, lease, lock, events; ARGV instance, record, TTL, token or '', event.
/// Returns 0 if the token doesn't hold the lock.
const REGISTER: &str = r"
if ARGV[4] ~= '' then
  if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then return 1 end
  if redis.call('GET', KEYS[4]) ~= ARGV[4] then return 0 end
  redis.call('DEL', KEYS[4])
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('SET', KEYS[3], 1, 'PX', ARGV[3])
redis.call('PUBLISH', KEYS[5], ARGV[5])
return 1
";

/// KEYS instances, ready, lease, events; ARGV instance, event. Returns 0 if it is leased.
const FENCE: &str = r"
if redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
if redis.call('SREM', KEYS[2], ARGV[1]) == 1 then redis.call('PUBLISH', KEYS[4], ARGV[2]) end
return 1
";

/// The same without asking for the lease.
const DRAIN: &str = r"
redis.call('DEL', KEYS[3])
if redis.call('SREM', KEYS[2], ARGV[1]) == 1 then redis.call('PUBLISH', KEYS[4], ARGV[2]) end
";

/// KEYS and ARGV as of FENCE.
const FORGET: &str = r"
redis.call('DEL', KEYS[3])
redis.call('HDEL', KEYS[1], ARGV[1])
if redis.call('SREM', KEYS[2], ARGV[1]) == 1 then redis.call('PUBLISH', KEYS[4], ARGV[2]) end
";
