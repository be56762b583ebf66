//! A small disk that can be filled up: a file system in memory, whose size is that of what it holds
//! while it is full.
//!
//! To mount it takes the rights of an administrator.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use crate::process::stat;
use crate::spawn::Account;

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
        let pid = std::process::id();
        let started = stat(pid).map_or(0, |stat| stat.started);
        let path = std::env::temp_dir().join(format!("{SOURCE}{pid}-{:08x}", fastrand::u32(..)));
        fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        let owner = account.map(|Account { uid, gid }| format!(",uid={uid},gid={gid}")).unwrap_or_default();
        let options = format!("size={ROOM},mode=0700{owner}");
        let mounted =
            run(Command::new("mount").args(["-t", "tmpfs", "-o", &options]).arg(source(pid, started)).arg(&path));
        if let Err(error) = mounted {
            let _ = fs::remove_dir(&path);
            return Err(error);
        }
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

    /// There is room on it again.
    pub fn clear(&self) -> anyhow::Result<()> {
        self.resize(ROOM)
    }

    fn resize(&self, size: u64) -> anyhow::Result<()> {
        run(Command::new("mount").arg("-o").arg(format!("remount,size={size}")).arg(&self.path))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(&self.path);
    }
}

fn source(pid: u32, started: u64) -> String {
    format!("{SOURCE}{pid}-{started}")
}

/// Removes the disks whose owner is dead.
fn tidy() {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for line in mounts.lines() {
        let mut fields = line.split(' ');
        let (Some(from), Some(path)) = (fields.next(), fields.next()) else { continue };
        let mut owner = from.strip_prefix(SOURCE).unwrap_or_default().splitn(2, '-').map(str::parse::<u64>);
        let (Some(Ok(pid)), Some(Ok(started))) = (owner.next(), owner.next()) else { continue };
        let is_alive = u32::try_from(pid).ok().and_then(stat).is_some_and(|stat| stat.started == started);
        if !is_alive {
            unmount(Path::new(path));
        }
    }
}

/// At once for those who look for it, and for those who have files of it open when they close them.
fn unmount(path: &Path) {
    let unmounted = run(Command::new("umount").arg("-l").arg(path)).and_then(|()| Ok(fs::remove_dir(path)?));
    if let Err(error) = unmounted {
        eprintln!("devstack: cannot remove {}: {error:#}", path.display());
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
