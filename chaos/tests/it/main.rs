//! Tests of the binary, and a short run.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly, its helpers too")]

mod cli;
mod short;
