//! Events that fail on their own: how often each is tried, and when the retries end.

use super::*;
use crate::scheduler::failing::RETRIES;

/// The state of a failing key since one of its events was last applied.
#[derive(Debug)]
pub(in crate::scheduler) struct FailingDevice {
    since: Duration,
    /// Whether single tries are allowed from now on, because enough events wait (the model may count more than the
    /// scheduler) or enough time has passed.
    may_be: bool,
    /// An event got fewer than its four tries: each of the next ones gets one.
    one_try: bool,
}

impl World {
    /// An event failed alone, with its own error.
    pub(super) fn note_failure(&mut self, offset: i64) {
        let key = self.records[&offset].0;
        let waits = |at: &&i64| !self.done.contains(at);
        let of_device = self.arrived.iter().filter(waits).filter(|at| self.records[at].0 == key).count();
        let all = self.arrived.iter().filter(waits).count();
        let bytes: usize = self.arrived.iter().filter(waits).map(|at| size_at_most(*at)).sum();
        let Settings { key_records, key_bytes, held_records, held_bytes, .. } = self.settings;
        let much = of_device >= key_records
            || bytes >= key_bytes
            || all >= held_records.div_ceil(2)
            || bytes >= held_bytes.div_ceil(2);
        *self.tries.entry(offset).or_default() += 1;
        let found = self.failing.entry(key).or_insert(FailingDevice { since: self.now, may_be: false, one_try: false });
        found.may_be |= much || self.now - found.since >= RETRIES;
    }

    /// Checks the decision after a failure: there are four tries, unless too much waits or the key has failed for too
    /// long.
    pub(super) fn check_failure(&mut self, offset: i64, after: AfterFailure) {
        let (now, tries, key) = (self.now, self.tries[&offset], self.records[&offset].0);
        let found = self.failing.get_mut(&key).unwrap();
        match after {
            AfterFailure::Held(delay) => {
                assert_eq!(delay, Duration::from_secs(2_u64.pow(tries)), "{offset}: try {tries}");
                assert!(!found.one_try && now - found.since < RETRIES, "{offset} has one try: {found:?}");
            }
            AfterFailure::DeadLetter if tries < 4 => {
                assert!(found.may_be, "{offset} is a dead letter after {tries} tries: {found:?}");
                found.one_try = true;
            }
            AfterFailure::DeadLetter => assert_eq!(tries, 4),
            other => panic!("{offset}: {other:?}"),
        }
    }
}

fn size_at_most(offset: i64) -> usize {
    sized(offset, 0).size() + 2 * size_of::<Task>()
}

/// Settings with so much room that retries end by time alone.
fn roomy() -> Settings {
    let many = usize::MAX / 4;
    Settings { held_records: many, held_bytes: many, key_records: many, key_bytes: many, ..small() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn each_event_has_its_tries_until_its_device_has_failed_for_two_minutes(
        records in history(prop_oneof![
            3 => Just(Kind::Good),
            1 => Just(Kind::Rejected),
            1 => Just(Kind::Panics),
            1 => (1..200u64).prop_map(Kind::FailsUntil),
            3 => Just(Kind::FailsAlways),
        ]),
        chunks in prop::collection::vec(0..7usize, 0..20),
        luck in prop::collection::vec(luck(), 0..30),
    ) {
        let world = World::new(roomy(), &records, luck).run(&chunks);
        for (&offset, &(reason, attempts)) in &world.letters {
            let failed = matches!(reason, Reason::Failed | Reason::Panicked);
            prop_assert!(!failed || world.tries[&offset] == attempts, "{} says {}", offset, attempts);
        }
    }
}

#[test]
fn each_failed_event_is_tried_four_times() {
    let records = [(1, 0, Kind::FailsAlways), (1, 0, Kind::FailsAlways), (1, 0, Kind::Good), (1, 0, Kind::FailsAlways)];
    let world = World::new(Settings::default(), &records, Vec::new()).run(&[1]);
    let letters: Vec<_> = world.letters.values().copied().collect();
    assert_eq!(letters, [(Reason::Failed, 4); 3]);
    assert_eq!(world.now, Duration::from_secs(3 * 14), "2 + 4 + 8, each time");
}

/// A key sends an event per second (or all at once), and they fail for `seconds`. Returns its dead letters with their
/// tries.
fn fault(settings: &Settings, events: i64, seconds: u64, at_once: bool) -> Vec<(i64, u32)> {
    let mut scheduler = Scheduler::new(settings.clone(), 0);
    let (mut now, mut came, mut letters) = (Duration::ZERO, 0, Vec::new());
    while scheduler.watermark() != Some(events) {
        while came < events && (at_once || Duration::from_secs(came.unsigned_abs()) <= now) && scheduler.has_room() {
            scheduler.arrive(record(came, 0, b"{}"), Ok(decoded(came, 0)));
            came += 1;
        }
        match scheduler.next(now) {
            Action::Apply(batch) if now < Duration::from_secs(seconds) => {
                scheduler.applied(batch, Err(error(Class::Failed)), now);
            }
            Action::Apply(batch) => assert_eq!(scheduler.applied(batch, Ok(()), now), None),
            Action::DeadLetter(sent_now) => {
                letters.extend(sent_now.iter().map(|letter| (letter.record.offset, letter.attempts)));
                scheduler.dead_lettered(sent(sent_now, Ok(())), now);
            }
            // The next event may come before that.
            Action::Wait(until) => now = until.unwrap_or(Duration::MAX).min(now + Duration::from_secs(1)),
            Action::Pause | Action::Probe(_) => panic!("one key is no flood, and this is no outage"),
        }
        assert!(now < Duration::from_secs(10_000), "it does not end");
    }
    letters
}

#[test]
fn a_short_fault_makes_no_heap_of_letters() {
    let settings = Settings::default();
    assert_eq!(fault(&settings, 60, 13, false), [], "it is over before the first event has had its tries");
    assert_eq!(fault(&settings, 60, 16, false), [(0, 4)]);
    assert_eq!(fault(&settings, 60, 16, true), [(0, 4)]);
}

#[test]
fn a_long_fault_has_an_end_by_time_and_by_room() {
    // Eight events get all of their tries within two minutes; the ninth completes its tries. The waiting ones then get
    // one try each.
    let letters = fault(&Settings { key_records: usize::MAX, ..Settings::default() }, 300, 200, false);
    let expected = |offset: i64| if offset < 9 { 4 } else { 1 };
    assert!(letters.len() > 190, "{letters:?}");
    assert!(letters.iter().all(|(offset, attempts)| *attempts == expected(*offset)), "{letters:?}");
    // Once a hundred events of the key wait, the retries end.
    let letters = fault(&Settings::default(), 300, 200, false);
    let (first, rest) = letters.split_at(7);
    assert!(first.iter().all(|(_, attempts)| *attempts == 4), "{letters:?}");
    assert!(rest.iter().skip(1).all(|(_, attempts)| *attempts == 1), "{letters:?}");
    let letters = fault(&Settings::default(), 300, 10, true);
    assert_eq!(letters.len(), 300, "the first one fails with 300 behind it, and so each has one try");
    assert!(letters.iter().all(|(_, attempts)| *attempts == 1));
    // The same once half of the partition's bound on held events is reached.
    let settings = Settings { held_records: 20, ..Settings::default() };
    let letters = fault(&settings, 12, 10, true);
    assert_eq!(letters, (0..12).map(|offset| (offset, 1)).collect::<Vec<_>>());
    let settings = Settings { held_records: 30, ..Settings::default() };
    assert_eq!(fault(&settings, 12, 10, true), []);
}

#[test]
fn what_is_applied_ends_it() {
    use Kind::{FailsAlways, Good};
    // Ten fail for over two minutes; the one behind them is applied, so the next one gets all of its tries again.
    let records: Vec<_> = (0..10).map(|_| (1, 0, FailsAlways)).chain([(1, 0, Good), (1, 0, FailsAlways)]).collect();
    let world = World::new(roomy(), &records, Vec::new()).run(&[12]);
    let attempts: Vec<_> = world.letters.values().map(|(_, attempts)| *attempts).collect();
    assert_eq!(attempts, [4, 4, 4, 4, 4, 4, 4, 4, 4, 1, 4]);
}
