//! Commands: what they do, and how bodies are asked for.

use bytes::Bytes;
use redis::{Arg, Cmd, Pipeline, RedisResult, Value};

use super::scripts;

/// What a command does. A server may have no room to store anything, or the user no right to, and do all else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Does {
    Reads,
    /// Or what takes no room either.
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

/// Commands that read, with the one before them that a replica refuses.
pub(super) fn reading(absent_key: &str, commands: impl IntoIterator<Item = Cmd>) -> Pipeline {
    let commands = commands.into_iter();
    let mut all = Pipeline::with_capacity(1 + commands.size_hint().0);
    all.cmd("DEL").arg(absent_key);
    for command in commands {
        all.add_command(command);
    }
    all
}

/// Asks for the first bytes under a key, up to this one. There is one of these for each hit, so that its memory is
/// asked for at once.
pub(super) fn beginning_of(key: &str, last: &str) -> Cmd {
    const NAME: &str = "GETRANGE";
    let mut command = Cmd::with_capacity(4, NAME.len() + key.len() + "0".len() + last.len());
    command.arg(NAME).arg(key).arg("0").arg(last);
    command
}

/// A key that holds no string looks like an absent one; so does an empty string, which is nothing of ours.
pub(super) fn beginning(answer: Value) -> RedisResult<Option<Bytes>> {
    match answer.extract_error() {
        Ok(Value::BulkString(bytes)) => Ok(Some(bytes.into()).filter(|bytes: &Bytes| !bytes.is_empty())),
        Ok(_) => Ok(None),
        Err(error) if error.code() == Some("WRONGTYPE") => Ok(None),
        Err(error) => Err(error),
    }
}
