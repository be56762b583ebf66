//! Checks that the quotes in the faults section of `docs/operations.md` are in the services' source: every message,
//! metric, field and setting must exist there with the same spelling.
//!
//! The test searches for every code span of that section, so the document needs no special marks. Code spans that
//! belong to Kafka, PostgreSQL, Redis and the shell are listed here.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Code that is not in the services' source.
const OF_OTHERS: [&str; 31] = [
    // Redis: its settings and messages, and the client's form of them.
    "maxmemory-policy allkeys-lru",
    "save \"\"",
    "appendonly no",
    "rdb-del-sync-files yes",
    "min-replicas-to-write",
    "replica-serve-stale-data no",
    "cluster-require-full-coverage no",
    "NoPerm",
    "The user executing the script can't run this command",
    "max number of clients reached",
    "This instance has cluster support disabled (REDIS_CLUSTER is true)",
    "resource:*",
    "{resource:*",
    // Kafka and its client.
    "auto.create.topics.enable",
    "AllBrokersDown",
    "Consumer group session timed out",
    "throttle",
    // PostgreSQL.
    "pg_wal",
    "VACUUM",
    "default_transaction_read_only",
    "search_path",
    "ALTER ROLE … SET",
    "ALTER DATABASE … SET",
    // The shell.
    "mv",
    "redis-cli --scan --pattern 'resource:*' | xargs redis-cli unlink",
    // Composed by the services: commands, and paths in their responses.
    "dlq list",
    "worker-service dlq list",
    "dlq redrive",
    "seek --to-time",
    "--partition N",
    "dependencies.postgres.error",
];

/// Placeholders for variable text.
const PLACEHOLDERS: [&str; 4] = ["…", "HOST:PORT", "events-input", "[N]"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The services' source without comments and tests; string literals over several lines are joined.
fn source() -> String {
    // The names of settings are not in the source: clap derives them from field names.
    let settings = fs::read_to_string(root().join("docs/settings.md")).unwrap();
    let (mut all, mut folders) =
        (settings, ["shared/src", "api-service/src", "worker-service/src"].map(|f| root().join(f)).to_vec());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let is_test = path.file_stem().is_some_and(|name| name == "tests");
            if path.is_dir() && !is_test {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test {
                let text = fs::read_to_string(path).unwrap();
                let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
                all.extend(text.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| {
                    // A string literal that continues in the next line.
                    line.trim_start().strip_suffix('\\').map_or_else(|| format!("{line}\n"), str::to_owned)
                }));
            }
        }
    }
    all.replace("\\\"", "\"")
}

/// The code spans of a text; a span in double backticks may contain a backtick.
fn codes(text: &str) -> BTreeSet<String> {
    let (mut found, mut rest) = (BTreeSet::new(), text);
    while let Some((_, behind)) = rest.split_once('`') {
        let mark = if behind.starts_with('`') { "``" } else { "`" };
        let inside = behind.trim_start_matches('`');
        let Some((code, behind)) = inside.split_once(mark) else { panic!("no end: {inside:.60}") };
        found.insert(code.trim().to_owned());
        rest = behind;
    }
    found
}

/// The parts of a code span that must be in the source.
fn pieces(code: &str) -> Vec<String> {
    // A metric: its name and the values of its labels.
    if let Some((name, labels)) = code.split_once('{').filter(|(name, _)| !name.is_empty() && code.ends_with("\"}")) {
        let values = labels.split('"').skip(1).step_by(2);
        return [name].into_iter().chain(values).map(str::to_owned).collect();
    }
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // Drop a leading HTTP status, or the code after `SQLSTATE`.
    let code = match code.split_once(' ') {
        Some((status, rest)) if is_number(status) => rest,
        Some(("SQLSTATE", _)) => "SQLSTATE",
        _ => code,
    };
    let is_sqlstate = code.len() == 5 && code.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
    if is_sqlstate && code.bytes().any(|byte| byte.is_ascii_digit()) {
        return Vec::new();
    }
    let parted = PLACEHOLDERS.iter().fold(code.to_owned(), |code, placeholder| code.replace(placeholder, "\n"));
    let parted = if code.contains(' ') { parted } else { parted.replace('=', "\n") };
    parted.lines().map(|piece| piece.trim_matches([' ', ':']).to_owned()).filter(|piece| !piece.is_empty()).collect()
}

/// Whether the source contains the piece as a whole word.
fn is_in(source: &str, piece: &str) -> bool {
    let is_word = |character: Option<char>| character.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    source.match_indices(piece).any(|(at, _)| {
        let (before, behind) = source.split_at(at);
        let behind = behind.strip_prefix(piece).unwrap_or_default();
        let begins = !is_word(piece.chars().next()) || !is_word(before.chars().next_back());
        begins && (!is_word(piece.chars().next_back()) || !is_word(behind.chars().next()))
    })
}

fn is_told(source: &str, code: &str) -> bool {
    // A file name.
    if code.contains('/') && !code.contains(['{', ' ']) && !code.starts_with('/') {
        return root().join(code).exists();
    }
    // An error and its cause may be in different places.
    let is_there = |piece: &String| {
        is_in(source, piece) || piece.contains(": ") && piece.split(": ").all(|part| is_in(source, part))
    };
    pieces(code).iter().all(is_there)
}

#[test]
fn what_the_runbook_quotes_of_the_services_is_theirs() {
    let text = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let (_, part) = text.split_once("\n## What happens when").unwrap();
    let (part, _) = part.split_once("\n## ").unwrap();
    let (source, codes) = (source(), codes(part));
    assert!(codes.len() > 150, "{codes:?}");
    let unknown: Vec<_> =
        codes.iter().filter(|code| !is_told(&source, code) && !OF_OTHERS.contains(&&***code)).collect();
    assert!(unknown.is_empty(), "docs/operations.md quotes what is not in the services' source: {unknown:#?}");
    let idle: Vec<_> = OF_OTHERS.iter().filter(|code| !codes.contains(**code) || is_told(&source, code)).collect();
    assert!(idle.is_empty(), "these are not quoted, or are in the source: {idle:?}");
}

#[test]
fn what_is_spelled_otherwise_is_found() {
    let source = "error!(\"an outage: the partition waits\"); gauge!(\"held_devices\", \"reason\" => \"failed\"); then";
    for code in [
        "an outage: the partition waits",
        "an outage: … waits",
        "held_devices{reason=\"failed\"}",
        "then=held_devices",
        "503 an outage",
        "57P01",
    ] {
        assert!(is_told(source, code), "{code}");
    }
    for code in [
        "an outage, the partition waits",
        "an outage: the partition stops",
        "an outage: … stops",
        "held_device",
        "held_devices{reason=\"fail\"}",
        "held_devices_total{reason=\"failed\"}",
        "then=waiting",
        "503 outages",
        "SQLSTATE 25006",
        "devstack/src/no_such_file.rs",
    ] {
        assert!(!is_told(source, code), "{code}");
    }
    assert_eq!(codes("a `b` ``c `d` `` `e`"), ["b", "c `d`", "e"].map(str::to_owned).into());
}
