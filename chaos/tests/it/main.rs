//! The binary from outside, and a run.

mod cli;
mod short;
