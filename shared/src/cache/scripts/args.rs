//! Arguments of a command.

use std::io;

use redis::RedisWrite;

/// In one allocation: a call may have hundreds.
pub(super) struct Args {
    data: Vec<u8>,
    /// Where each argument ends.
    ends: Vec<usize>,
}

impl Args {
    pub(super) const fn new() -> Self {
        Self { data: Vec::new(), ends: Vec::new() }
    }

    pub(super) const fn count(&self) -> usize {
        self.ends.len()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.data.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(begin, end)| self.data.get(begin..*end).unwrap_or_default())
    }
}

impl RedisWrite for Args {
    fn write_arg(&mut self, arg: &[u8]) {
        self.data.extend_from_slice(arg);
        self.ends.push(self.data.len());
    }

    fn writer_for_next_arg(&mut self) -> impl io::Write + '_ {
        self.ends.push(self.data.len());
        LastArg(self)
    }
}

/// Writes the last argument.
struct LastArg<'a>(&'a mut Args);

impl io::Write for LastArg<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Self(Args { data, ends }) = self;
        data.extend_from_slice(bytes);
        if let Some(end) = ends.last_mut() {
            *end = data.len();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
