//! What strangers can send: each function takes whatever bytes, gives them to the code that has to
//! cope with them, and panics where that broke a promise. None of them may panic, ever.
//!
//! The same functions are run by `cargo test` over the corpus and over changes of it (`tests/`),
//! and by libFuzzer for as long as one likes (`libfuzzer/`, `make fuzz`).
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

/// All of them; each has a folder of its name in `corpus/`.
pub const TARGETS: [Target; 5] =
    [("event", event), ("cloud_event", cloud_event), ("token", token), ("topic", topic), ("content", content)];

type Line<'a> = (&'a [u8], &'a [u8]);

/// Splits an input into lines of `name: value`, and what stands behind the first empty line.
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
