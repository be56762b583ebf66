//! The subcommands, one file each.

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
