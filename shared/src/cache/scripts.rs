//! All Lua scripts. Each script does one thing to each of its keys, atomically.

use std::sync::LazyLock;

use redis::{Cmd, Script, ToRedisArgs};

pub(super) struct Lua {
    source: &'static str,
    hash: Script,
}

impl Lua {
    fn new(source: &'static str) -> Self {
        Self { source, hash: Script::new(source) }
    }

    /// Starts a call of the script, without keys and arguments.
    pub(super) const fn call(&'static self) -> Call {
        Call { script: self, keys: Vec::new(), args: Vec::new() }
    }
}

pub(super) struct Call {
    script: &'static Lua,
    keys: Vec<String>,
    args: Vec<Vec<u8>>,
}

impl Call {
    pub(super) fn key(&mut self, key: String) -> &mut Self {
        self.keys.push(key);
        self
    }

    pub(super) fn keys(&mut self, keys: impl IntoIterator<Item = String>) -> &mut Self {
        self.keys.extend(keys);
        self
    }

    pub(super) fn arg(&mut self, arg: impl ToRedisArgs) -> &mut Self {
        arg.write_redis_args(&mut self.args);
        self
    }

    /// The key that decides which node of a cluster gets the call.
    pub(super) fn first_key(&self) -> &str {
        self.keys.first().map_or("", String::as_str)
    }

    /// The command with the script's hash. A server knows the hash if it has run the script since it started.
    pub(super) fn by_hash(&self) -> Cmd {
        self.command("EVALSHA", self.script.hash.get_hash())
    }

    /// The command with the script's source, for a server that does not know the hash. (`SCRIPT LOAD` would go to every
    /// node of a cluster, and fail if one of them is away.)
    pub(super) fn in_full(&self) -> Cmd {
        self.command("EVAL", self.script.source)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.keys.len()).arg(&self.keys);
        for arg in &self.args {
            command.arg(arg);
        }
        command
    }
}

/// Defines a function that starts a call of a script.
macro_rules! script {
    ($(#[$doc:meta])* $name:ident = $source:literal) => {
        $(#[$doc])*
        pub(super) fn $name() -> Call {
            static SCRIPT: LazyLock<Lua> = LazyLock::new(|| Lua::new($source));
            SCRIPT.call()
        }
    };
}

script!(
    /// KEYS: one that never exists. Changes nothing. A server that refuses writes, or scripts of this user, refuses it.
    role = "return redis.call('DEL', KEYS[1])"
);

/// Whether a script, given by its hash or its source, stores something.
pub(super) fn stores(script: &[u8]) -> bool {
    let is = |lua: &Lua| lua.hash.get_hash().as_bytes() == script || lua.source.as_bytes() == script;
    is(fill().script) || is(fence_body().script)
}

script!(
    /// KEYS: one. ARGV: lease, body, TTL in ms. Stores the body if the key still holds the lease.
    fill = r"
        if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
        redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
        return 1"
);

script!(
    /// KEYS: one. ARGV: lease. Deletes the key if it still holds the lease.
    release = r"
        if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
        return redis.call('DEL', KEYS[1])"
);

/// The answer of [`fence_versions`] for a key with an older body, which has to be replaced. Its other letters, and
/// those of [`fence_body`], are in [`FenceOutcome::from_code`](super::FenceOutcome::from_code).
pub(super) const OLDER: u8 = b'o';

script!(
    /// KEYS: the keys to fence, and optionally one that never exists. ARGV: a version for each key to fence. Leaves
    /// absent keys and new enough bodies as they are, deletes leases and invalid values, and answers with a letter for
    /// each key. Older bodies are left to [`fence_body`]. Deleting the key that never exists makes a replica refuse the
    /// script even if there is nothing to write.
    fence_versions = r#"
        if #KEYS > #ARGV then redis.call('DEL', KEYS[#KEYS]) end
        local codes = {}
        for i = 1, #ARGV do
          local key = KEYS[i]
          local head = redis.pcall('GETRANGE', key, 0, 40)
          codes[i] = 'a'
          if head ~= '' then
            local version = type(head) == 'string' and string.match(head, '^{"version":(%d+)[,}]')
            if not version then
              redis.call('DEL', key)
              codes[i] = type(head) == 'string' and string.sub(head, 1, 6) == 'lease:' and 'l' or 'd'
            elseif tonumber(version) < tonumber(ARGV[i]) then
              codes[i] = 'o'
            else
              codes[i] = 'c'
            end
          end
        end
        return table.concat(codes)"#
);

script!(
    /// KEYS: one, its mark, and optionally one that never exists. ARGV: version, body, TTL in ms. Replaces an older
    /// body and keeps its TTL; but if the old body is [`MISSING`](super::MISSING), whose TTL is short, the new body
    /// gets the TTL of ARGV. Deletes the key if the new body is empty, or if the mark exists: the resource was erased,
    /// and the new body may have been read before that. Answers with a letter.
    fence_body = r#"
        local head = redis.pcall('GETRANGE', KEYS[1], 0, 40)
        local version = type(head) == 'string' and string.match(head, '^{"version":(%d+)[,}]')
        if not version or tonumber(version) >= tonumber(ARGV[1]) then
          if KEYS[3] then redis.call('DEL', KEYS[3]) end
          return version and 'c' or 'a'
        end
        if ARGV[2] == '' or redis.call('EXISTS', KEYS[2]) == 1 then
          redis.call('DEL', KEYS[1])
          return 'd'
        end
        if tonumber(version) == 0 then
          redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
        else
          redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
        end
        return 'r'"#
);

script!(
    /// KEYS: one, and its mark. ARGV: the mark's TTL in ms. Deletes the key, then sets the mark. In this order, because
    /// a Redis without free memory refuses a script if its first write needs memory.
    erase = r"
        local deleted = redis.call('DEL', KEYS[1])
        redis.call('SET', KEYS[2], '1', 'PX', ARGV[1])
        return deleted"
);
