//! Tests of the local stack.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly, its helpers too")]

mod crash;
mod exec;
mod helpers;
mod proxies;
mod tokens;
