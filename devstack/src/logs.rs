//! What was logged in a test run, all in one place, and looked through in the end: no line may hold
//! a payload, a token or a secret, nor its message twice.
//!
//! Every [`Service`](crate::Service) leaves its log here by itself, and so do tests that run a
//! service in their own process. What must not be there is planted: in payloads, in the secrets of
//! tokens, in passwords. Tokens are known by their beginning.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, ensure};

use crate::dir::target;

/// What tests put wherever a payload, a token or a secret is.
pub const PLANTED: &str = "planted-7f3a";
/// What every JWT begins with: `{"` in base64url.
const TOKEN: &str = "eyJ";
/// Whose logs there have to be, or somebody's were not looked at.
const WHOSE: [&str; 4] = ["api-service", "worker-service", "api-tests", "worker-tests"];

fn folder() -> anyhow::Result<PathBuf> {
    let folder = target().join("devstack").join("logs");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

pub fn file(whose: &str) -> anyhow::Result<PathBuf> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    Ok(folder()?.join(format!("{whose}.{}.{count}.log", std::process::id())))
}

/// Keeps a log that somebody else writes, and may remove.
pub(crate) fn keep(log: &Path, whose: &str) -> anyhow::Result<()> {
    let kept = file(whose)?;
    fs::hard_link(log, &kept).with_context(|| format!("cannot keep {} as {}", log.display(), kept.display()))
}

/// Looks through all of them; says how many lines there were.
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

/// What a line tells that it must not.
pub fn told(line: &str) -> Option<&'static str> {
    if line.contains(PLANTED) {
        return Some("what was planted");
    }
    // A field of that name, beside the event's own: whoever reads JSON keeps one of them.
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
