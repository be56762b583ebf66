//! What a handler reads: its stream, its group, and how the settings name them. The consumer and the commands for
//! operators work by this, whatever the domain.

use std::collections::BTreeMap;

use shared::kafka::{Setting, StreamSpec, TopicConfig};
use shared::store::Journal;

/// A handler, as its domain declares it.
#[derive(Debug, Clone, Copy)]
pub struct HandlerSpec {
    /// Its name: what `--only` and `--handler` call it.
    pub name: &'static str,
    pub group: Setting,
    pub stream: StreamSpec,
    /// Whether it owns its stream. Exactly one of the handlers that read a stream does: it sends the dead letters of
    /// records that are no event, or have a type that the stream does not have. The others pass over these.
    pub owner: bool,
    /// What makes a repeat harmless, and says of dead letters what became of their events.
    pub journal: Journal,
}

/// Checks that each stream has one owner among its handlers.
pub fn ensure_owners(handlers: impl Iterator<Item = HandlerSpec>) -> anyhow::Result<()> {
    let mut streams: BTreeMap<&str, Vec<HandlerSpec>> = BTreeMap::new();
    for handler in handlers {
        streams.entry(handler.stream.name).or_default().push(handler);
    }
    let names = |handlers: &[HandlerSpec]| handlers.iter().map(|handler| handler.name).collect::<Vec<_>>().join(", ");
    for (stream, handlers) in streams {
        let owners: Vec<_> = handlers.iter().copied().filter(|handler| handler.owner).collect();
        anyhow::ensure!(
            !owners.is_empty(),
            "the stream {stream} has no owner: one of its handlers has to be ({})",
            names(&handlers)
        );
        anyhow::ensure!(owners.len() == 1, "the stream {stream} has several owners: {}", names(&owners));
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use shared::kafka::Setting;

    use super::*;

    fn handler(name: &'static str, stream: &'static str, owner: bool) -> HandlerSpec {
        let setting = Setting::new("", "", "", "");
        let stream = StreamSpec { name: stream, topic: setting, dead_letters: setting, types: &[] };
        let journal = Journal { table: "", key: "", event_id: "", outcome: "" };
        HandlerSpec { name, group: setting, stream, owner, journal }
    }

    #[test]
    fn each_stream_has_one_owner() {
        let said =
            |handlers: &[HandlerSpec]| ensure_owners(handlers.iter().copied()).map_err(|error| error.to_string());
        let (store, ring) = (handler("store", "readings", true), handler("ring", "alarms", true));
        let (count, bill) = (handler("count", "readings", false), handler("bill", "readings", false));
        assert_eq!(said(&[count, store, ring, bill]), Ok(()));
        assert_eq!(
            said(&[ring, count, bill]),
            Err("the stream readings has no owner: one of its handlers has to be (count, bill)".to_owned())
        );
        let other = handler("other", "readings", true);
        assert_eq!(
            said(&[store, count, other, ring]),
            Err("the stream readings has several owners: store, other".to_owned())
        );
    }
}
