//! What may happen to the relay of the outbox, which one of the workers is.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use devstack::{Service, psql};
use worker_service::outbox::relay::LEASE;

use super::held::Held;
use super::{Injection, until_done};

/// The timeout for the relay to be met where a fault needs it: there may be none, or PostgreSQL may be away.
const MET: Duration = Duration::from_secs(90);
/// How long it is kept there at most: less than it waits for PostgreSQL.
const KEPT: Duration = Duration::from_secs(2);
/// How long to wait for it to ask for rows that were just committed: it is rung for within some 20 ms. As long as that,
/// nobody writes any.
const RUNG: Duration = Duration::from_millis(600);
/// The time from the end of a lease until another relay has published what waits.
const TAKEN_OVER: Duration = Duration::from_secs(5);
/// How long events gather while the relay cannot delete any.
const GATHERED: Duration = Duration::from_millis(300);
const PAUSE: Duration = Duration::from_millis(20);
/// How often the lease is taken from the relay.
const LOST: Duration = Duration::from_millis(1_500);
/// How long that goes on at least.
const TWO: Duration = Duration::from_secs(6);

/// The statement with which the relay reads, and the one with which it deletes what Kafka has committed.
const READS: &str = "SELECT id, event_id::text, aggregate, sequence%";
const DELETES: &str = "%SET offsets = offsets || $3::jsonb%";

impl Injection<'_> {
    fn ask(&self, query: &str) -> anyhow::Result<String> {
        psql(&self.world.scope.database_url, query)
    }

    /// Who holds the lease; nobody, if it is free.
    fn holder(&self) -> anyhow::Result<String> {
        self.ask("SELECT coalesce(holder, '') FROM outbox_relay")
    }

    /// Takes the worker that is the relay, unless another fault holds it.
    fn take_relay(&self) -> Option<Service> {
        // The host, the process and something random.
        let pid = self.holder().ok()?.rsplit(':').nth(1)?.parse().ok()?;
        self.world.take_worker_with(pid)
    }

    /// The session of the relay that waits for a lock with this statement, within this time.
    fn waiting(&self, statement: &str, within: Duration) -> Option<String> {
        let deadline = Instant::now() + within;
        let query = format!(
            "SELECT max(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '{statement}'
               AND application_name LIKE 'worker-service outbox-relay%'"
        );
        while Instant::now() < deadline {
            match self.ask(&query) {
                Ok(pid) if !pid.is_empty() => return Some(pid),
                _ => sleep(PAUSE),
            }
        }
        None
    }

    /// The relay is killed between Kafka's commit and the deletion of the rows: it waits there for a lock that this fault
    /// holds. Its session ends before it gets the lock. Returns a reason if it was not met there.
    pub(super) fn kill_relay(&self) -> anyhow::Result<Option<String>> {
        let _gate = self.world.gate();
        let deadline = Instant::now() + MET;
        while Instant::now() < deadline {
            let held = Held::begin(self.world, "SELECT FROM outbox_relay FOR UPDATE", "'locked'", 2 * KEPT);
            let session = held.value(KEPT).ok().and_then(|_| self.waiting(DELETES, KEPT));
            let met = session.and_then(|session| Some((session, self.take_relay()?)));
            if let Some((session, relay)) = met {
                let killed = self.worker_away(&relay, true, || relay.kill());
                let ended = self.ask(&format!("SELECT pg_terminate_backend({session})"));
                held.end();
                killed?;
                self.world.add_worker()?;
                return Ok(ended.err().map(|error| format!("its session did not end: {error}")));
            }
            held.end();
            sleep(PAUSE);
        }
        Ok(Some("it was never met between commit and deletion".to_owned()))
    }

    /// The relay is frozen when it has asked for rows and not got them yet, and continues when another one has published
    /// them. Returns a reason if none has.
    pub(super) fn freeze_relay(&self) -> anyhow::Result<Option<String>> {
        let _gate = self.world.gate();
        let deadline = Instant::now() + MET;
        while Instant::now() < deadline {
            let held = self.hold_rows();
            let has_rows = held.value(KEPT).is_ok_and(|rows| rows != "0");
            let met = has_rows && self.waiting(READS, RUNG).is_some();
            let Some(relay) = met.then(|| self.take_relay()).flatten() else {
                held.end();
                sleep(PAUSE);
                continue;
            };
            let mut taken_over = false;
            self.worker_away(&relay, false, || {
                relay.freeze()?;
                held.end();
                sleep(LEASE + self.step.lasts);
                // Other faults may keep the others from it for a while.
                let own = format!(":{}:", relay.pid());
                let is_another = |holder: &String| holder.contains(':') && !holder.contains(&own);
                let until = Instant::now() + MET;
                while !taken_over && Instant::now() < until {
                    sleep(TAKEN_OVER);
                    taken_over = self.holder().is_ok_and(|holder| is_another(&holder));
                }
                relay.thaw()
            })?;
            self.world.put_worker(relay);
            return Ok((!taken_over).then(|| "no other relay took over".to_owned()));
        }
        Ok(Some("it was never met while it read".to_owned()))
    }

    /// Locks the outbox as soon as the relay has deleted what it published; its rows are the lock's value. Events gather
    /// before, while the relay waits: otherwise it leaves hardly any.
    fn hold_rows(&self) -> Held {
        let gather = Held::begin(self.world, "SELECT FROM outbox_relay FOR UPDATE", "'locked'", 2 * KEPT);
        if gather.value(KEPT).is_ok() && self.waiting(DELETES, KEPT).is_some() {
            sleep(GATHERED);
        }
        let lock = "LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE";
        let held = Held::begin(self.world, lock, "SELECT count(*) FROM outbox", 2 * KEPT);
        // It stands in the queue behind the deletion, or has the lock.
        sleep(RUNG);
        gather.end();
        held
    }

    /// Others take the lease while the relay publishes, again and again. Returns a reason if only one had it.
    pub(super) fn two_relays(&self) -> anyhow::Result<Option<String>> {
        let began = Instant::now();
        let until = TWO.max(2 * self.step.lasts);
        let mut holders = BTreeSet::new();
        // PostgreSQL may be away meanwhile.
        while began.elapsed() < until || holders.len() < 2 && began.elapsed() < MET {
            until_done(|| {
                let free = "UPDATE outbox_relay SET holder = 'nobody', held_until = '-infinity'";
                self.ask(free).map(drop).context("the lease cannot be taken away")
            })?;
            sleep(LOST);
            holders.extend(self.holder().ok().filter(|holder| holder.contains(':')));
        }
        Ok((holders.len() < 2).then(|| format!("{} relays had the lease", holders.len())))
    }

    /// A transaction is open for a while, so that PostgreSQL keeps the rows that the relay deletes. Returns a reason if it
    /// always ended before: with PostgreSQL, which other faults end.
    pub(super) fn hold_xmin(&self) -> anyhow::Result<Option<String>> {
        let most = 4 * self.step.lasts;
        let begin = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ";
        let deadline = Instant::now() + MET;
        while Instant::now() < deadline {
            let held = Held::begin(self.world, begin, "SELECT count(*) FROM outbox", 2 * most);
            let began = held.value(KEPT).map(|_| sleep(most));
            let lasted = began.is_ok() && held.is_open();
            held.end();
            if lasted {
                return Ok(None);
            }
        }
        Ok(Some("the transaction always ended by itself".to_owned()))
    }

    /// The folder of the files is away, and a file is in its place.
    pub(super) fn cut_objects(&self) -> anyhow::Result<()> {
        let folder = &self.world.files;
        let aside = folder.with_extension("aside");
        std::fs::rename(folder, &aside)?;
        std::fs::write(folder, "this is no folder")?;
        self.lasts();
        std::fs::remove_file(folder)?;
        Ok(std::fs::rename(&aside, folder)?)
    }
}
