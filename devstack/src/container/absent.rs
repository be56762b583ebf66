//! Without the feature `containers`: no engine, and so no container.

use std::path::Path;

use anyhow::bail;

use super::Plan;
use crate::server::Body;

const ABSENT: &str = "devstack was built without its feature `containers` (`make` builds it in where \
                      DEVSTACK_SERVERS=containers)";

/// There is none.
#[derive(Debug)]
pub(crate) enum Container {}

/// There is none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Engine {
    pub(crate) on_host: bool,
}

/// Always an error.
pub(crate) fn engine() -> anyhow::Result<Engine> {
    bail!(ABSENT)
}

impl Container {
    pub(crate) fn new(_plan: Plan) -> anyhow::Result<Container> {
        bail!(ABSENT)
    }

    pub(crate) fn change(&self, _change: impl FnOnce(&mut Plan)) {
        match *self {}
    }

    pub(crate) fn run(&self, _command: Vec<String>) -> anyhow::Result<()> {
        match *self {}
    }

    pub(crate) fn network(&self) -> anyhow::Result<String> {
        match *self {}
    }
}

impl Body for Container {
    fn start(&self, _log: &Path) -> anyhow::Result<()> {
        match *self {}
    }

    fn ended(&self) -> anyhow::Result<Option<String>> {
        match *self {}
    }

    fn stop(&self) -> anyhow::Result<()> {
        match *self {}
    }

    fn kill(&self) -> anyhow::Result<()> {
        match *self {}
    }

    fn freeze(&self) -> anyhow::Result<()> {
        match *self {}
    }

    fn thaw(&self) -> anyhow::Result<()> {
        match *self {}
    }

    fn discard(&self) -> anyhow::Result<()> {
        match *self {}
    }

    fn pid(&self) -> Option<u32> {
        match *self {}
    }
}
