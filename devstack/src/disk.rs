//! A small disk that can be filled up: a file system in memory, whose size is that of what it holds
//! while it is full.
//!
//! To mount it takes the rights of an administrator.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::process::{owner_is_dead, this};
use crate::spawn::{Account, output};

/// What it holds at most while it is not full: a bound, taken from memory only as it is used.
const ROOM: u64 = 4 << 30;
/// What it is mounted from: this, and the number and the start of the process that owns it.
const SOURCE: &str = "devstack-disk-";

/// A mounted disk; dropped, it is gone with all that is on it.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one for this account, after removing those of dead owners.
    pub(crate) fn mount(account: Option<Account>) -> anyhow::Result<SmallDisk> {
        tidy();
        let (pid, started) = this();
        let source = format!("{SOURCE}{pid}-{started}");
        let path = std::env::temp_dir().join(format!("{SOURCE}{pid}-{:08x}", fastrand::u32(..)));
        fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        let owner = account.map(|Account { uid, gid }| format!(",uid={uid},gid={gid}")).unwrap_or_default();
        let options = format!("size={ROOM},mode=0700{owner}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options]).arg(source).arg(&path);
        output(&mut mount).inspect_err(|_| {
            let _ = fs::remove_dir(&path);
        })?;
        Ok(SmallDisk { path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves no room on it beside what it holds.
    pub fn fill(&self) -> anyhow::Result<()> {
        let mut filled = Ok(());
        for _ in 0..20 {
            let held = rustix::fs::statvfs(&self.path)?;
            filled = self.resize((held.f_blocks - held.f_bfree) * held.f_frsize);
            if filled.is_ok() {
                break;
            }
        }
        filled
    }

    pub fn clear(&self) -> anyhow::Result<()> {
        self.resize(ROOM)
    }

    fn resize(&self, size: u64) -> anyhow::Result<()> {
        output(Command::new("mount").arg("-o").arg(format!("remount,size={size}")).arg(&self.path)).map(drop)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(&self.path);
    }
}

/// Removes the disks whose owner is dead.
fn tidy() {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for line in mounts.lines() {
        let mut fields = line.split(' ');
        let (Some(from), Some(path)) = (fields.next(), fields.next()) else { continue };
        if from.strip_prefix(SOURCE).is_some_and(owner_is_dead) {
            unmount(Path::new(path));
        }
    }
}

/// At once for those who look for it, and for those who have files of it open when they close them.
fn unmount(path: &Path) {
    let unmounted = output(Command::new("umount").arg("-l").arg(path)).and_then(|_| Ok(fs::remove_dir(path)?));
    if let Err(error) = unmounted {
        eprintln!("devstack: cannot remove {}: {error:#}", path.display());
    }
}
