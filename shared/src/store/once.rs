//! What makes a repeated event harmless: the journal of a domain, or the inbox. Operators' commands ask it for every
//! handler.

use std::collections::HashMap;

use super::{EventName, Failure, Journal, Store, inbox};

/// Where a handler notes the events that it has taken.
#[derive(Debug, Clone, Copy)]
pub enum Once {
    /// A table of the domain's own.
    Journal(Journal),
    /// The backbone's inbox, under this name.
    Inbox {
        /// The handler's name.
        subscriber: &'static str,
    },
}

impl Once {
    /// The outcomes of those of these events that were taken.
    pub async fn outcomes(&self, store: &Store, events: &[EventName]) -> Result<HashMap<EventName, String>, Failure> {
        match self {
            Self::Journal(journal) => journal.outcomes(store, events).await,
            Self::Inbox { subscriber } => inbox::outcomes(store, subscriber, events).await,
        }
    }
}
