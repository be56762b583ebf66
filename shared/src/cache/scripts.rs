//! All Lua scripts. Each script does one thing to each of its keys, atomically.

mod args;

use std::sync::LazyLock;

use redis::{Cmd, RedisWrite as _, Script, ToRedisArgs};

use self::args::Args;

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
        Call { script: self, keys: Args::new(), args: Args::new() }
    }
}

pub(super) struct Call {
    script: &'static Lua,
    keys: Args,
    args: Args,
}

impl Call {
    pub(super) fn key(&mut self, key: impl AsRef<str>) -> &mut Self {
        self.keys.write_arg(key.as_ref().as_bytes());
        self
    }

    pub(super) fn keys(&mut self, keys: impl IntoIterator<Item = String>) -> &mut Self {
        for key in keys {
            self.key(key);
        }
        self
    }

    pub(super) fn arg(&mut self, arg: impl ToRedisArgs) -> &mut Self {
        arg.write_redis_args(&mut self.args);
        self
    }

    /// The key that decides which node of a cluster gets the call.
    pub(super) fn first_key(&self) -> &[u8] {
        self.keys.iter().next().unwrap_or_default()
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
        let (keys, args) = (&self.keys, &self.args);
        let bytes = name.len() + script.len() + keys.bytes() + args.bytes();
        let mut command = Cmd::with_capacity(3 + keys.count() + args.count(), bytes + usize::BITS as usize);
        command.arg(name).arg(script).arg(keys.count());
        for arg in keys.iter().chain(args.iter()) {
            command.arg(arg);
        }
        command
    }
}

/// Defines a function that starts a call of a script.
macro_rules! script {
    ($(#[$doc:meta])* $name:ident = $source:expr) => {
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
    [fill, fence_body, admit_ids, fill_ids].into_iter().any(|call| is(call().script))
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

/// Puts three functions before a script of [`IdSets`](super::IdSets).
///
/// `server(mark)`: the first part of the incarnation of the server that runs the script: the id of its replication,
/// which is new after each start and each promotion, and what was there since its keys were deleted at once (then the
/// key `mark` is gone) or, in a cluster, where `mark` is nil, since it took over slots: then it has other slots, but a
/// new epoch only if its own was not the greatest. Nil if it is a replica.
///
/// `incarnation(term, last)`: the whole incarnation, and how many commands the server has processed. A server has
/// another one if it may have forgotten keys: after it was started or promoted, after it evicted keys, and if another
/// `last` is there. An empty text if the server does not say so. `INFO stats` takes longer than all the rest.
///
/// `noted(term, last)`: the serial of this incarnation, and when it was first seen, from a list in ARGV: their number,
/// then incarnation, serial, and time and commands of each. If it is not in the list, or the server has processed fewer
/// commands than are noted (`CONFIG RESETSTAT` sets both these and the evicted keys to 0): nil, and its text or an error.
macro_rules! of_incarnation {
    ($source:literal) => {
        concat!(
            r"
        local function server(mark)
          local replication = redis.call('INFO', 'replication')
          if not string.find(replication, 'role:master', 1, true) then return nil end
          local last
          if mark then
            last = redis.call('GET', mark)
          else
            local own = 'myself%S* %S+ %d+ %d+ (%d+) %S+([^\n]*)'
            local epoch, slots = string.match(redis.call('CLUSTER', 'NODES'), own)
            -- Without the slots that are being moved: their keys are told by redirections.
            last = epoch and epoch .. '-' .. redis.sha1hex((string.gsub(slots, ' %[[^%]]*%]', '')))
          end
          return string.match(replication, 'master_replid:(%x+)') or '', last
        end
        local function incarnation(term, last)
          local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
          local stats = redis.call('INFO', 'stats')
          local evicted = string.match(stats, 'evicted_keys:(%d+)')
          local commands = string.match(stats, 'total_commands_processed:(%d+)')
          if not (run and term ~= '' and evicted and commands and last) then return '', '0' end
          return table.concat({run, term, evicted, last}, ':'), commands
        end
        local replica = redis.error_reply('READONLY a replica has no incarnation')
        local function noted(term, last)
          if not term then return nil, replica end
          local found, commands = incarnation(term, last)
          for at = 2, 3 * tonumber(ARGV[1]), 3 do
            local seen, least = string.match(ARGV[at + 2], '^(%S+) (%d+)$')
            if ARGV[at] == found and tonumber(commands) >= tonumber(least) then
              return ARGV[at + 1], tonumber(seen)
            end
          end
          return nil, found
        end",
            $source
        )
    };
}

script!(
    /// KEYS: the mark, if there is one. ARGV: a random text. Sets the mark if it is not there, and answers with the
    /// server's incarnation, its `maxmemory_policy`, and how many commands it has processed.
    incarnation = of_incarnation!(
        r"
        local mark = KEYS[1]
        local term, last = server(mark)
        if not term then return replica end
        if mark and not last then
          redis.call('SET', mark, ARGV[1])
          last = ARGV[1]
        end
        local policy = string.match(redis.call('INFO', 'memory'), 'maxmemory_policy:(%S+)')
        local found, commands = incarnation(term, last)
        return {found, policy or '', commands}"
    )
);

script!(
    /// Adds ids to bounded sets. A set is a hash: its ids, each with the nonce of who added it (empty: it is there for
    /// good), and at `#` the serial of the incarnation in which all its ids are known.
    ///
    /// A set that is there is whole if its serial is of an incarnation of this term, and nobody deleted all keys since:
    /// what is evicted is gone as a whole. So only a set that is absent, or that another term left, needs the whole
    /// incarnation.
    ///
    /// KEYS: a set for each id, and the mark, if there is one. ARGV: the noted incarnations, then for each id: the id,
    /// its nonce, the set's most ids, its TTL in ms, and since when it may have ids. Answers with the text of an
    /// incarnation that is not noted; otherwise with the serial, 0 if it was not needed, and a letter for each id.
    admit_ids = of_incarnation!(
        r"
        local at = 2 + 3 * tonumber(ARGV[1])
        local count = (#ARGV + 1 - at) / 5
        local term, last = server(KEYS[count + 1])
        local lasting = {}
        if term and term ~= '' and last then
          for of = 2, at - 1, 3 do
            local its_term, its_last = string.match(ARGV[of], '^%x+:(%x+):%d+:(.*)$')
            if its_term == term and its_last == last then lasting[ARGV[of + 1]] = true end
          end
        end
        local serial, seen
        local codes = {}
        for i = 1, count do
          local key, id, nonce = KEYS[i], ARGV[at], ARGV[at + 1]
          local there = redis.call('HMGET', key, '#', id)
          if not lasting[there[1]] then
            if not serial then
              serial, seen = noted(term, last)
              if not serial then return seen end
            end
            if there[1] or seen >= tonumber(ARGV[at + 4]) then
              codes[i] = 'u'
            else
              redis.call('HSET', key, '#', serial, id, nonce)
              redis.call('PEXPIRE', key, ARGV[at + 3])
              codes[i] = 'a'
            end
          elseif there[2] == nonce then
            codes[i] = 'a'
          elseif there[2] then
            if there[2] ~= '' then redis.call('HSET', key, id, '') end
            codes[i] = 't'
          elseif redis.call('HLEN', key) > tonumber(ARGV[at + 2]) then
            codes[i] = 'f'
          else
            redis.call('HSET', key, id, nonce)
            codes[i] = 'a'
          end
          at = at + 5
        end
        return {serial or '0', table.concat(codes)}"
    )
);

script!(
    /// Looks for ids, and changes nothing. KEYS and ARGV as for [`admit_ids`], of each id only itself, and since when its
    /// set may have ids. Answers with the same, and other letters.
    find_ids = of_incarnation!(
        r"
        local at = 2 + 3 * tonumber(ARGV[1])
        local count = (#ARGV + 1 - at) / 2
        local serial, seen = noted(server(KEYS[count + 1]))
        if not serial then return seen end
        local codes = {}
        for i = 1, count do
          local there = redis.call('HMGET', KEYS[i], '#', ARGV[at + 2 * i - 2])
          local is_known = there[1] == serial or not there[1] and seen < tonumber(ARGV[at + 2 * i - 1])
          codes[i] = not is_known and 'u' or there[2] and 't' or 'n'
        end
        return {serial, table.concat(codes)}"
    )
);

script!(
    /// KEYS: sets. ARGV: for each set an id and its nonce. Removes the id if it still has this nonce.
    release_ids = r"
        for i = 1, #KEYS do
          local id, nonce = ARGV[2 * i - 1], ARGV[2 * i]
          if redis.call('HGET', KEYS[i], id) == nonce then redis.call('HDEL', KEYS[i], id) end
        end
        return #KEYS"
);

script!(
    /// KEYS: a set, and the mark, if there is one. ARGV: the noted incarnations, then the set's TTL in ms, and every id
    /// that is known from elsewhere. Adds these for good. If the set was of another incarnation, ids that only one
    /// adder knows are removed: if they were accepted, they are among those that are known. Answers with the serial, or
    /// with the text of an incarnation that is not noted.
    fill_ids = of_incarnation!(
        r"
        local at = 2 + 3 * tonumber(ARGV[1])
        local serial, other = noted(server(KEYS[2]))
        if not serial then return other end
        if redis.call('HGET', KEYS[1], '#') ~= serial then
          local all = redis.call('HGETALL', KEYS[1])
          for i = 1, #all, 2 do
            if all[i] ~= '#' and all[i + 1] ~= '' then redis.call('HDEL', KEYS[1], all[i]) end
          end
          redis.call('HSET', KEYS[1], '#', serial)
        end
        for i = at + 1, #ARGV do redis.call('HSET', KEYS[1], ARGV[i], '') end
        redis.call('PEXPIRE', KEYS[1], ARGV[at])
        return {serial}"
    )
);
