//! The input of a handler: its stream, its group, and the settings that name them. The consumer and the operator
//! commands use this for every domain.

use std::collections::BTreeMap;

use shared::kafka::{Setting, StreamSpec, TopicConfig};
use shared::store::Once;

/// A handler, as its domain declares it.
#[derive(Debug, Clone, Copy)]
pub struct HandlerSpec {
    /// The name that `--only` and `--handler` use.
    pub name: &'static str,
    pub group: Setting,
    pub stream: StreamSpec,
    /// Whether it owns its stream. Exactly one of a stream's handlers does: it dead-letters records that are not
    /// events, and events of a type that the stream does not define. The other handlers skip these.
    pub owner: bool,
    /// The types of its stream that have an effect in it.
    pub types: &'static [&'static str],
    /// Detects repeats, and returns the outcomes of the events of dead letters.
    pub once: Once,
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

/// A handler with the group and the topics from the settings.
#[derive(Debug, Clone)]
pub struct Source {
    pub handler: HandlerSpec,
    pub group: String,
    pub topics: TopicConfig,
    /// The groups of other handlers that read the same topic: this handler skips records that were redriven for one of
    /// them.
    pub other_groups: Vec<String>,
}

impl Source {
    /// Whether this is the group of another handler of the same topic. An unknown group is not: it may be an earlier
    /// name of this handler's own group.
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
        let stream = StreamSpec {
            name: stream,
            topic: setting,
            dead_letters: setting,
            types: &[],
            extensions: &[],
            transactional: false,
        };
        let once = Once::Inbox { subscriber: "" };
        HandlerSpec { name, group: setting, stream, owner, types: &[], once }
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
