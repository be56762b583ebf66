//! All the Lua there is. Each script does one thing to each of its keys, atomically.

use std::sync::LazyLock;

use redis::Script;

/// KEYS: one. ARGV: lease, body, TTL in ms. Fills while the lease stands.
pub(super) fn fill() -> &'static Script {
    static SCRIPT: LazyLock<Script> = LazyLock::new(|| {
        Script::new(
            r"
            if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
            redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
            return 1",
        )
    });
    &SCRIPT
}

/// KEYS: one. ARGV: lease. Deletes the lease while it stands.
pub(super) fn release() -> &'static Script {
    static SCRIPT: LazyLock<Script> = LazyLock::new(|| {
        Script::new(
            r"
            if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
            return redis.call('DEL', KEYS[1])",
        )
    });
    &SCRIPT
}

/// KEYS: some. ARGV: the version of each. Leaves absent keys and bodies that are new enough alone,
/// deletes leases and whatever cannot be understood, and answers with the indices (from 1) of the
/// keys that hold an older body.
pub(super) fn fence_versions() -> &'static Script {
    static SCRIPT: LazyLock<Script> = LazyLock::new(|| {
        Script::new(
            r#"
            local older = {}
            for i, key in ipairs(KEYS) do
              local head = redis.pcall('GETRANGE', key, 0, 40)
              if head ~= '' then
                local version = type(head) == 'string' and string.match(head, '^{"version":(%d+)[,}]')
                if not version then
                  redis.call('DEL', key)
                elseif tonumber(version) < tonumber(ARGV[i]) then
                  older[#older + 1] = i
                end
              end
            end
            return older"#,
        )
    });
    &SCRIPT
}

/// KEYS: one, and its mark. ARGV: version, body, TTL in ms. Replaces an older body, keeping its TTL,
/// but for the one that says that nothing is there, whose TTL is seconds: the new body gets its own.
/// Without a body to put there, deletes it; and also while the mark says that the device was
/// forgotten, because the body may have been read before that.
pub(super) fn fence_body() -> &'static Script {
    static SCRIPT: LazyLock<Script> = LazyLock::new(|| {
        Script::new(
            r#"
            local head = redis.pcall('GETRANGE', KEYS[1], 0, 40)
            local version = type(head) == 'string' and string.match(head, '^{"version":(%d+)[,}]')
            if not version or tonumber(version) >= tonumber(ARGV[1]) then return 0 end
            if ARGV[2] == '' or redis.call('EXISTS', KEYS[2]) == 1 then return redis.call('DEL', KEYS[1]) end
            if tonumber(version) == 0 then
              redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
            else
              redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
            end
            return 1"#,
        )
    });
    &SCRIPT
}

/// KEYS: one, and its mark. ARGV: the mark's TTL in ms. Deletes what is there, and leaves the mark.
pub(super) fn forget() -> &'static Script {
    static SCRIPT: LazyLock<Script> = LazyLock::new(|| {
        Script::new(
            r"
            redis.call('SET', KEYS[2], '1', 'PX', ARGV[1])
            return redis.call('DEL', KEYS[1])",
        )
    });
    &SCRIPT
}
