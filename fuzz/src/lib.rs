//! Fuzz targets for untrusted input: each function passes arbitrary bytes to the code that must handle them,
//! and panics if that code breaks a promise. So no input may ever make one of them panic.
//!
//! `cargo test` runs the same functions over the corpus and over mutations of it (`tests/`); libFuzzer runs them
//! for any length of time (`libfuzzer/`, `make fuzz`).
#![expect(clippy::expect_used, clippy::panic, reason = "a promise that is broken is to end the run")]

mod cloud_event;
mod content;
mod event;
mod oracle;
mod rules;
mod token;
mod topic;

pub use cloud_event::cloud_event;
pub use content::content;
pub use event::{accepted, event};
pub use token::token;
pub use topic::topic;

pub type Target = (&'static str, fn(&[u8]));

/// All targets; each has a folder of the same name in `corpus/`.
pub const TARGETS: [Target; 5] =
    [("event", event), ("cloud_event", cloud_event), ("token", token), ("topic", topic), ("content", content)];

type Line<'a> = (&'a [u8], &'a [u8]);

/// Splits an input into lines of `name: value` and the rest after the first empty line.
fn headers_and_body(input: &[u8]) -> (Vec<Line<'_>>, &[u8]) {
    let (mut headers, mut rest) = (Vec::new(), input);
    loop {
        let end = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
        let (line, behind) = rest.split_at(end);
        rest = behind.get(1..).unwrap_or_default();
        if line.is_empty() {
            return (headers, rest);
        }
        let colon = line.windows(2).position(|pair| pair == b": ").unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        headers.push((name, value.get(2..).unwrap_or_default()));
    }
}
