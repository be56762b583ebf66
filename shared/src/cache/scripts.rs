//! All the Lua there is. Each script does one thing to each of its keys, atomically.

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

    /// A call of it, without keys and arguments yet.
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

    /// The key that decides which node of a cluster is asked.
    pub(super) fn first_key(&self) -> &str {
        self.keys.first().map_or("", String::as_str)
    }

    /// With the script's hash, which a server knows that has run it since it started.
    pub(super) fn by_hash(&self) -> Cmd {
        self.command("EVALSHA", self.script.hash.get_hash())
    }

    /// With the script itself, to the one server that did not know it. (Loading it first would ask
    /// every node of a cluster, and fail where any of them is away.)
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

/// A function that makes a call of a script.
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
    /// KEYS: one that is never there. Changes nothing, and a server refuses it that takes no writes, or no scripts from
    /// this user.
    role = "return redis.call('DEL', KEYS[1])"
);

/// Whether a script stores something, by its hash or as a whole.
pub(super) fn stores(script: &[u8]) -> bool {
    let is = |lua: &Lua| lua.hash.get_hash().as_bytes() == script || lua.source.as_bytes() == script;
    is(fill().script) || is(fence_body().script)
}

script!(
    /// KEYS: one. ARGV: lease, body, TTL in ms. Fills while the lease stands.
    fill = r"
        if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
        redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
        return 1"
);

script!(
    /// KEYS: one. ARGV: lease. Deletes the lease while it stands.
    release = r"
        if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
        return redis.call('DEL', KEYS[1])"
);

/// What [`fence_versions`] answers for a key with an older body, which has to be replaced. Its other letters, and those of
/// [`fence_body`], are in [`FenceOutcome::from_code`](super::FenceOutcome::from_code).
pub(super) const OLDER: u8 = b'o';

script!(
    /// KEYS: some, and perhaps one that is never there. ARGV: the version of each of the others. Leaves absent keys and
    /// bodies that are new enough alone, deletes leases and whatever cannot be understood, and answers with a letter for
    /// each key: older bodies are left to [`fence_body`]. A replica, which has nothing to write either where a
    /// key is absent, refuses to delete the one that is never there.
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
    /// KEYS: one, its mark, and perhaps one that is never there. ARGV: version, body, TTL in ms. Replaces an older body,
    /// keeping its TTL, but for the one that says that nothing is there, whose TTL is seconds: the new body gets its own.
    /// Without a body to put there, deletes it; and also while the mark says that the device was erased, because the
    /// body may have been read before that. Answers with a letter.
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
    /// KEYS: one, and its mark. ARGV: the mark's TTL in ms. Deletes what is there, and leaves the mark: in
    /// this order, because a Redis without room refuses a script's first write where that takes room.
    erase = r"
        local deleted = redis.call('DEL', KEYS[1])
        redis.call('SET', KEYS[2], '1', 'PX', ARGV[1])
        return deleted"
);
