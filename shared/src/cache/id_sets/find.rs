//! Looks for ids, and changes nothing.

use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;

use super::{CONCURRENCY, IdSets, MOST_IDS, NewId, micros, scripts};

/// Whether an id is in its set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It is.
    There,
    /// It is not.
    Absent,
    /// The incarnation with this serial does not know all ids of the set, which has to be filled.
    Unknown(i64),
    /// There was no answer in time, or none by a noted incarnation.
    Unsure,
}

impl IdSets {
    /// Looks for ids in their sets: one answer for each id, in order. How many ids a set may have does not matter.
    pub async fn find(&self, ids: &[NewId]) -> Vec<Found> {
        if self.0.noted.load().is_empty() {
            self.0.changed.notify_one();
            return vec![Found::Unsure; ids.len()];
        }
        // In a cluster a call is about one set.
        let size = if self.0.servers.is_cluster() { 1 } else { MOST_IDS };
        let calls: Vec<_> = ids.chunks(size).map(|chunk| self.find_together(chunk)).collect();
        stream::iter(calls).buffered(CONCURRENCY).concat().await
    }

    async fn find_together(&self, ids: &[NewId]) -> Vec<Found> {
        let mut call = scripts::find_ids();
        for id in ids {
            call.key(&id.entry.key);
        }
        self.compared(&mut call);
        for NewId { entry, since, .. } in ids {
            call.arg(entry.id.as_str()).arg(micros(*since));
        }
        let answer = self.0.servers.run_at_owner(&call, Instant::now() + self.0.timeout).await;
        let answers = answer.ok().and_then(|answer| self.understood(answer));
        let answers = answers.and_then(|(serial, codes)| codes.bytes().map(|code| Found::of(code, serial)).collect());
        answers.filter(|all: &Vec<_>| all.len() == ids.len()).unwrap_or_else(|| vec![Found::Unsure; ids.len()])
    }
}

impl Found {
    fn of(code: u8, serial: i64) -> Option<Self> {
        match code {
            b't' => Some(Self::There),
            b'n' => Some(Self::Absent),
            b'u' => Some(Self::Unknown(serial)),
            _ => None,
        }
    }
}
