//! The disk's own latency of a commit: it writes 8 KiB, as a small transaction does to PostgreSQL's WAL, and
//! calls `fdatasync`. No event is visible sooner; when this write stalls, so does every commit.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::load::Latency;

pub(crate) const WHAT: &str = "the disk alone: 8 KiB and fdatasync, 20 times a second meanwhile";
/// The size of a WAL page of PostgreSQL.
const PAGE: [u8; 8192] = [1; 8192];
/// The file's size in pages. The probe overwrites them again and again, as PostgreSQL recycles its segments.
const PAGES: u64 = 1024;
const EVERY: Duration = Duration::from_millis(50);

/// Probes the disk of a folder twenty times a second for this time.
pub(crate) fn probe(folder: &Path, time: Duration) -> anyhow::Result<Latency> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(folder.join("disk.probe"))?;
    for page in 0..PAGES {
        file.write_all_at(&PAGE, page * PAGE.len() as u64)?;
    }
    file.sync_all()?;
    let (began, mut took) = (Instant::now(), Vec::new());
    for page in (0..PAGES).cycle() {
        if began.elapsed() >= time {
            break;
        }
        let asked = Instant::now();
        file.write_all_at(&PAGE, page * PAGE.len() as u64)?;
        file.sync_data()?;
        took.push(asked.elapsed());
        std::thread::sleep(EVERY);
    }
    Ok(Latency::of(took))
}
