//! What the command does, a file for each part.

pub(crate) mod dev;
pub(crate) mod exec;
mod probe;
pub(crate) mod replay;
mod settings;
mod signals;
mod tail;
pub(crate) mod token;
