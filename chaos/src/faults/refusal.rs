//! Devices whose events PostgreSQL refuses as data.

use std::thread::sleep;
use std::time::Duration;

use super::{Injection, postgres, until_done};
use crate::gather;
use crate::history::Letter;
use crate::load::{DEVICES, lock};
use crate::plan::{Fault, OUTLASTS_RETRIES};
use crate::world::World;

/// The longest that devices are refused while other things go wrong.
const REFUSED_BESIDE_OTHERS: Duration = Duration::from_secs(18);
/// Devices refused at once.
const REFUSED: usize = 6;
/// The least time from the first refusal to the end of it: less than the first retry waits.
const AFTER_REFUSAL: Duration = Duration::from_secs(1);

/// An error where none of these devices has a dead letter yet.
fn has_letter(world: &World, devices: &[String]) -> anyhow::Result<()> {
    let refused = |letter: &Letter| letter.reason == "failed" && devices.contains(&letter.key);
    anyhow::ensure!(gather::letters(world)?.iter().any(refused), "no event was refused until it was a dead letter");
    Ok(())
}

impl Injection<'_> {
    /// Tells that nothing was refused, where nothing was.
    pub(super) fn refuse_devices(&self) -> anyhow::Result<Option<String>> {
        let Self { step, world, .. } = self;
        let device = |n| format!("device-{}", (step.choice + n * DEVICES / REFUSED) % DEVICES);
        let devices: Vec<_> = (0..REFUSED).map(device).collect();
        let (some, others) = devices.split_at(REFUSED / 2);
        lock(self.history).refused.extend(devices.iter().cloned());
        // Some with whatever else goes wrong meanwhile, sometimes longer than all retries.
        until_done(|| postgres::refuse(world, some))?;
        sleep((step.lasts * 3).min(REFUSED_BESIDE_OTHERS));
        until_done(|| postgres::accept(world, some))?;
        // Others with PostgreSQL well: they are held when it takes their events again. And with Kafka
        // well, or no event comes. Nobody else waits for one turn while it has another.
        let kafka = world.turn(Fault::StopKafka);
        let _postgres = world.turn(Fault::LosePostgres);
        let before = postgres::refusals(world)?;
        postgres::refuse(world, others)?;
        let refused = until_done(|| {
            anyhow::ensure!(postgres::refusals(world)? > before, "nothing was refused");
            Ok(())
        });
        let mut missed = refused.err().map(|error| error.to_string());
        let for_good = step.lasts >= OUTLASTS_RETRIES;
        let _kafka = kafka.filter(|_| for_good);
        sleep(AFTER_REFUSAL + step.lasts);
        if missed.is_none() && for_good {
            // A worker that ended meanwhile left its tries to another one, which began anew.
            missed = until_done(|| has_letter(world, others)).err().map(|error| error.to_string());
        }
        postgres::accept(world, others)?;
        Ok(missed)
    }
}
