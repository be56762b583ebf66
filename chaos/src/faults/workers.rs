//! Workers that end, freeze and start.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::bail;
use devstack::Service;

use super::{Injection, end};

const MAX_WORKERS: usize = 3;
/// The timeout for a worker that no other fault holds.
const TAKE_TIMEOUT: Duration = Duration::from_secs(60);

impl Injection<'_> {
    pub(super) fn kill_worker(&self) -> anyhow::Result<()> {
        let _gate = self.world.gate();
        let worker = self.take_worker()?;
        self.worker_away(&worker, true, || worker.kill())?;
        self.world.add_worker()
    }

    pub(super) fn stop_worker(&self) -> anyhow::Result<()> {
        let _gate = self.world.gate();
        let worker = self.take_worker()?;
        self.world.add_worker()?;
        self.worker_away(&worker, true, || end(&worker))
    }

    pub(super) fn freeze_worker(&self) -> anyhow::Result<()> {
        let _gate = self.world.gate();
        let worker = self.take_worker()?;
        self.worker_away(&worker, false, || {
            worker.freeze()?;
            // Often longer than its session timeout: another worker takes over.
            sleep(self.step.lasts * 3);
            worker.thaw()
        })?;
        self.world.put_worker(worker);
        Ok(())
    }

    /// Starts one more worker, or stops one if there are enough.
    pub(super) fn add_worker(&self) -> anyhow::Result<()> {
        let _gate = self.world.gate();
        if self.world.workers() < MAX_WORKERS {
            return self.world.add_worker();
        }
        let worker = self.take_worker()?;
        self.worker_away(&worker, true, || worker.kill())
    }

    /// Takes a running worker, as soon as there is one that no other fault holds.
    fn take_worker(&self) -> anyhow::Result<Service> {
        let deadline = Instant::now() + TAKE_TIMEOUT;
        while Instant::now() < deadline {
            match self.world.take_worker(self.step.choice) {
                Some(worker) if self.world.still_runs(&worker) => return Ok(worker),
                // Replace it, as the platform would.
                Some(_) => self.world.add_worker()?,
                None => sleep(Duration::from_millis(100)),
            }
        }
        bail!("there was no worker for {TAKE_TIMEOUT:?}")
    }
}
