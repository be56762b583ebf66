//! What the command does, a file for each part.

pub(crate) mod dev;
pub(crate) mod exec;
mod probe;
mod settings;
mod signals;
mod tail;
