//! What the command does, a file for each part.

pub(crate) mod dev;
pub(crate) mod exec;
mod ports;
pub(crate) mod replay;
mod session;
mod settings;
mod signals;
mod steps;
mod tail;
pub(crate) mod token;
