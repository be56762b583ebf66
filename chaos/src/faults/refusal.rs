//! Devices whose events PostgreSQL refuses as data.

use std::thread::sleep;
use std::time::Duration;

use anyhow::ensure;

use super::{Injection, postgres, until_done, within};
use crate::gather;
use crate::history::Letter;
use crate::load::{DEVICES, lock};
use crate::plan::{Fault, OUTLASTS_RETRIES};
use crate::world::World;

/// The maximum time for which devices are refused during other faults.
const REFUSED_BESIDE_OTHERS: Duration = Duration::from_secs(18);
const REFUSED: usize = 6;
/// The timeout for an event of a refused device to arrive, and for all its attempts: workers may end
/// meanwhile, and the group rebalances.
const MEETS_AN_EVENT: Duration = Duration::from_secs(180);
/// The time from the first refusal until events are accepted again: less than the first retry's delay.
const AFTER_REFUSAL: Duration = Duration::from_secs(1);

fn letters(world: &World, devices: &[String]) -> anyhow::Result<usize> {
    let refused = |letter: &&Letter| letter.reason == "failed" && devices.contains(&letter.key);
    Ok(gather::letters(world)?.iter().filter(refused).count())
}

impl Injection<'_> {
    pub(super) fn refuse_devices(&self) -> anyhow::Result<Option<String>> {
        let Self { step, world, .. } = self;
        let device = |n| format!("device-{}", (step.choice + n * DEVICES / REFUSED) % DEVICES);
        let devices: Vec<_> = (0..REFUSED).map(device).collect();
        let (some, others) = devices.split_at(REFUSED / 2);
        lock(self.history).refused.extend(devices.iter().cloned());
        // Some devices during other faults, sometimes longer than all retries.
        until_done(|| postgres::refuse(world, some))?;
        sleep((step.lasts * 3).min(REFUSED_BESIDE_OTHERS));
        until_done(|| postgres::accept(world, some))?;
        // Others while PostgreSQL and Kafka work: their events are held when PostgreSQL accepts them again, and
        // without Kafka no event arrives. No other code takes two turns, so this cannot deadlock.
        let kafka = world.turn(Fault::StopKafka);
        let _postgres = world.turn(Fault::LosePostgres);
        let for_good = step.lasts >= OUTLASTS_RETRIES;
        let (refusals, dead) = (postgres::refusals(world)?, letters(world, others)?);
        postgres::refuse(world, others)?;
        let mut refused = within(MEETS_AN_EVENT, || {
            ensure!(postgres::refusals(world)? > refusals, "nothing was refused");
            Ok(())
        });
        let _kafka = kafka.filter(|_| for_good);
        sleep(AFTER_REFUSAL + step.lasts);
        if refused.is_ok() && for_good {
            // If a worker ended meanwhile, the next one restarted the attempts.
            refused = within(MEETS_AN_EVENT, || {
                ensure!(letters(world, others)? > dead, "nothing was refused until it was a dead letter");
                Ok(())
            });
        }
        postgres::accept(world, others)?;
        Ok(refused.err().map(|error| error.to_string()))
    }
}
