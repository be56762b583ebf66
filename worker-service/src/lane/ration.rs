//! The ration of dead letters: after a bad deploy a partition waits for an operator, instead of
//! draining its topic into the dead-letter topic.

use std::collections::{HashSet, VecDeque};

use shared::topic::{DeadLetter, Record};

use super::Settings;

/// Looks back on the last records of a partition. Redriven records do not count.
#[derive(Debug)]
pub(super) struct Ration {
    letters: usize,
    devices: usize,
    window: usize,
    /// One entry a record: for a dead letter its key.
    last: VecDeque<Option<Vec<u8>>>,
    /// Dead letters in `last`.
    count: usize,
    /// How many letters at the front of the queue were let through before, and came back because
    /// the dead-letter topic did not take them: each letter counts once.
    let_through: usize,
}

/// Letters sent at once.
const CHUNK: usize = 100;

impl Ration {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            letters: settings.ration_letters,
            devices: settings.ration_devices,
            window: settings.ration_window,
            last: VecDeque::new(),
            count: 0,
            let_through: 0,
        }
    }

    pub(super) fn applied(&mut self, record: &Record) {
        // While there are no dead letters, nothing has to be remembered.
        if self.count > 0 && !record.is_redriven() {
            self.push(None);
        }
    }

    /// Takes the letters that may go now, from the front; none where the ration is used up.
    pub(super) fn take(&mut self, letters: &mut VecDeque<DeadLetter>) -> Vec<DeadLetter> {
        let mut taken = Vec::new();
        while taken.len() < CHUNK
            && let Some(letter) = letters.pop_front()
        {
            if self.let_through > 0 {
                self.let_through -= 1;
                taken.push(letter);
                continue;
            }
            if letter.record.is_redriven() {
                taken.push(letter);
                continue;
            }
            // Without a key nobody knows whose it is: each counts as somebody else's.
            let device =
                letter.record.key().map_or_else(|| letter.record.offset.to_be_bytes().to_vec(), <[u8]>::to_vec);
            if self.count >= self.letters && self.devices_with(&device) > self.devices {
                letters.push_front(letter);
                break;
            }
            self.push(Some(device));
            taken.push(letter);
        }
        taken
    }

    /// So many letters that were taken are at the front of the queue again.
    pub(super) fn came_back(&mut self, letters: usize) {
        self.let_through += letters;
    }

    pub(super) fn renew(&mut self) {
        self.last.clear();
        self.count = 0;
    }

    fn devices_with(&self, device: &[u8]) -> usize {
        let mut devices: HashSet<&[u8]> = self.last.iter().flatten().map(Vec::as_slice).collect();
        devices.insert(device);
        devices.len()
    }

    fn push(&mut self, entry: Option<Vec<u8>>) {
        self.count += usize::from(entry.is_some());
        self.last.push_back(entry);
        if self.last.len() > self.window && self.last.pop_front().flatten().is_some() {
            self.count -= 1;
        }
    }
}
