//! Collects all logs of a test run in one folder and searches them at the end: no line may contain a payload, a
//! token or a secret, or have two messages.
//!
//! Every [`Service`](crate::Service) puts its log here, and so do tests that run a service in their own
//! process. The tests put a marker ([`PLANTED`]) into payloads, token secrets and passwords. Tokens are
//! recognised by their prefix.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, ensure};

use crate::dir::target;

/// The marker that tests put into payloads, tokens and secrets.
pub const PLANTED: &str = "planted-7f3a";
/// The prefix of every JWT: `{"` in base64url.
const TOKEN: &str = "eyJ";
/// The sources whose logs must exist; otherwise the search would miss one.
const WHOSE: [&str; 4] = ["api-service", "worker-service", "api-tests", "worker-tests"];

fn folder() -> anyhow::Result<PathBuf> {
    let folder = target().join("devstack").join("logs");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

pub fn file(whose: &str) -> anyhow::Result<PathBuf> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    // Processes of one run may have the same id, one after the other.
    let unique = fastrand::u32(..);
    Ok(folder()?.join(format!("{whose}.{}.{count}.{unique:08x}.log", std::process::id())))
}

/// Keeps a log by a hard link, because its writer may delete it.
pub(crate) fn keep(log: &Path, whose: &str) -> anyhow::Result<()> {
    let kept = file(whose)?;
    fs::hard_link(log, &kept).with_context(|| format!("cannot keep {} as {}", log.display(), kept.display()))
}

/// Searches all logs; returns a summary with the number of lines.
pub fn look_through() -> anyhow::Result<String> {
    let (mut files, mut lines, mut found) = (Vec::new(), 0, Vec::new());
    for entry in fs::read_dir(folder()?)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for (number, line) in BufReader::new(File::open(&path)?).split(b'\n').enumerate() {
            lines += 1;
            if let Some(what) = told(&String::from_utf8_lossy(&line?)) {
                found.push(format!("{}:{}: {what}", path.display(), number + 1));
            }
        }
        files.push(name);
    }
    ensure!(found.is_empty(), "what must not be logged:\n{}", found.join("\n"));
    let missing: Vec<_> = WHOSE.iter().filter(|whose| !files.iter().any(|name| name.starts_with(**whose))).collect();
    ensure!(missing.is_empty(), "there are no logs of {missing:?}: nobody knows what they tell");
    Ok(format!("{lines} lines in {} logs, and no payload, token or secret in them", files.len()))
}

/// The kind of forbidden content in a line, if any.
pub fn told(line: &str) -> Option<&'static str> {
    if line.contains(PLANTED) {
        return Some("what was planted");
    }
    // A field named `message` beside the event's own message: a JSON parser keeps only one of them.
    if line.matches(r#""message":"#).count() > 1 {
        return Some("two messages");
    }
    let token =
        |start: &str| start.bytes().take_while(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b)).count() > 16;
    line.match_indices(TOKEN).any(|(at, _)| line.get(at..).is_some_and(token)).then_some("a token")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_not_be_told_is_found() {
        let token = crate::token::hs256(&"x".repeat(32), "s", &[], &[], std::time::Duration::from_secs(1));
        for bad in [format!(r#"{{"payload":"{PLANTED}"}}"#), format!("a {}", token.unwrap_or_default())] {
            assert!(told(&bad).is_some(), "{bad}");
        }
        assert!(told(r#"{"message":"Kafka client","message":"no broker"}"#).is_some());
        assert_eq!(told(r#"{"message":"answered","detail":"{\"message\":1}"}"#), None);
        assert_eq!(told(r#"{"message":"answered","request_id":"eyJ"}"#), None);
    }
}
