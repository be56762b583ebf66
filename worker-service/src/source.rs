//! What a handler reads: its stream, its group, and how the settings name them. The consumer and the commands for
//! operators work by this, whatever the domain.

use shared::kafka::{Setting, StreamSpec, TopicConfig};
use shared::store::Journal;

/// A handler, as its domain declares it.
#[derive(Debug, Clone, Copy)]
pub struct HandlerSpec {
    /// Its name: what `--only` and `--handler` call it.
    pub name: &'static str,
    pub group: Setting,
    pub stream: StreamSpec,
    /// The CloudEvents types that it takes.
    pub types: &'static [&'static str],
    /// What makes a repeat harmless, and says of dead letters what became of their events.
    pub journal: Journal,
}

/// What a handler reads, as the settings name it.
#[derive(Debug, Clone)]
pub struct Source {
    pub handler: HandlerSpec,
    pub group: String,
    pub topics: TopicConfig,
    /// The groups of other handlers that read the same topic: a record that was redriven for one of them is none of ours.
    pub other_groups: Vec<String>,
}

impl Source {
    /// Whether a group of this name is another one that reads the same topic. One that is not known is none: it may be
    /// the name that this one had before.
    pub fn is_of_another(&self, group: Option<&[u8]>) -> bool {
        group.is_some_and(|group| self.other_groups.iter().any(|other| other.as_bytes() == group))
    }
}
