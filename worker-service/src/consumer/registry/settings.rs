//! What domains' own settings are, by their types: each is a clap struct that stands beside what it configures.

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{ArgMatches, Args, Command, Error};

type Value = Arc<dyn Any + Send + Sync>;

/// Settings of `run` that a domain has registered.
#[derive(Clone, Copy)]
pub struct SettingsSpec {
    /// Adds them to a command.
    pub augment: fn(Command) -> Command,
    read: fn(&ArgMatches) -> Result<(TypeId, Value), Error>,
}

impl SettingsSpec {
    /// Those of a clap struct.
    pub fn of<C: Args + Send + Sync + 'static>() -> Self {
        Self {
            augment: C::augment_args,
            read: |matches| Ok((TypeId::of::<C>(), Arc::new(C::from_arg_matches(matches)?) as Value)),
        }
    }
}

/// The values of all of them.
#[derive(Clone, Default)]
pub struct Settings(HashMap<TypeId, Value>);

impl Settings {
    /// Reads them from a command line.
    pub fn read(specs: &[SettingsSpec], matches: &ArgMatches) -> Result<Self, Error> {
        specs.iter().map(|spec| (spec.read)(matches)).collect::<Result<_, _>>().map(Self)
    }

    /// Those of a struct; that no domain has registered it is a defect.
    pub fn of<C: Any + Send + Sync>(&self) -> anyhow::Result<&C> {
        let found = self.0.get(&TypeId::of::<C>()).and_then(|value| value.downcast_ref());
        found.with_context(|| format!("no domain has registered the settings {}", type_name::<C>()))
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // They may hold secrets.
        write!(f, "Settings({})", self.0.len())
    }
}
