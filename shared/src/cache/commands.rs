//! Redis commands: their kinds, and the commands that read bodies.

use bytes::Bytes;
use redis::{Arg, Cmd, Pipeline, RedisResult, Value};

use super::scripts;

/// The kind of a command. A server without free memory, or without the permission for the user, may refuse only the
/// commands that store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Does {
    Reads,
    /// Deletes, or does anything else that needs no memory.
    Deletes,
    Stores,
}

impl Does {
    pub(super) fn of(command: &Cmd) -> Self {
        let mut args = command.args_iter();
        match (args.next(), args.next()) {
            (Some(Arg::Simple(b"GET")), _) => Self::Reads,
            (Some(Arg::Simple(b"SET")), _) => Self::Stores,
            (Some(Arg::Simple(b"EVALSHA" | b"EVAL")), Some(Arg::Simple(script))) if scripts::stores(script) => {
                Self::Stores
            }
            _ => Self::Deletes,
        }
    }
}

/// A pipeline of reads, after a `DEL` that a replica refuses.
pub(super) fn reading(absent_key: &str, commands: impl IntoIterator<Item = Cmd>) -> Pipeline {
    let commands = commands.into_iter();
    let mut all = Pipeline::with_capacity(1 + commands.size_hint().0);
    all.cmd("DEL").arg(absent_key);
    for command in commands {
        all.add_command(command);
    }
    all
}

/// Reads a value's bytes from the first up to index `last`. Every hit needs one such command, so it is allocated once,
/// in full size.
pub(super) fn beginning_of(key: &str, last: &str) -> Cmd {
    const NAME: &str = "GETRANGE";
    let mut command = Cmd::with_capacity(4, NAME.len() + key.len() + "0".len() + last.len());
    command.arg(NAME).arg(key).arg("0").arg(last);
    command
}

/// Parses an answer to [`beginning_of`]. A key that is not a string looks like an absent one; so does an empty string,
/// which is never an entry of ours.
pub(super) fn beginning(answer: Value) -> RedisResult<Option<Bytes>> {
    match answer.extract_error() {
        Ok(Value::BulkString(bytes)) => Ok(Some(bytes.into()).filter(|bytes: &Bytes| !bytes.is_empty())),
        Ok(_) => Ok(None),
        Err(error) if error.code() == Some("WRONGTYPE") => Ok(None),
        Err(error) => Err(error),
    }
}
