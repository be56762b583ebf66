//! A disk that a test can fill: a tmpfs that is shrunk to the size of its contents to make it full.
//!
//! Mounting it requires root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::process::{owner_is_dead, this};
use crate::spawn::{Account, output};

/// Its size while it is not full. Memory is used only for the actual contents.
const ROOM: u64 = 4 << 30;
/// The mount's source name: this prefix, then the pid and the start time of the owning process.
const SOURCE: &str = "devstack-disk-";

/// A mounted disk. Dropping it unmounts it and discards its contents.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Unmounts the disks of dead owners, then mounts one for this account.
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

    /// Leaves no free space on it.
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

/// Unmounts the disks whose owner is dead.
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

/// Unmounts lazily: the path is free at once, and open files stay valid until they are closed.
fn unmount(path: &Path) {
    let unmounted = output(Command::new("umount").arg("-l").arg(path)).and_then(|_| Ok(fs::remove_dir(path)?));
    if let Err(error) = unmounted {
        eprintln!("devstack: cannot remove {}: {error:#}", path.display());
    }
}
