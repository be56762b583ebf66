//! The folders on disk, and the cleanup after owners that were killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context as _;
use rustix::process::Signal;

use crate::process::{everyone, owner_is_dead, send, this};

/// A file in a stack's folder that prevents its removal.
const KEEP: &str = "keep";
/// A link in a stack's folder to data that had to be placed elsewhere.
pub(crate) const ELSEWHERE: &str = "elsewhere";

pub(crate) fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Cargo's target folder, which contains this executable.
pub fn target() -> PathBuf {
    std::env::current_exe()
        .ok()
        .and_then(|exe| exe.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file()).map(Path::to_path_buf))
        .unwrap_or_else(|| workspace().join("target"))
}

/// The folder of one or several servers; it is removed with the last of them.
#[derive(Debug)]
pub(crate) struct StackDir {
    path: PathBuf,
}

impl StackDir {
    /// Removes the folders of dead processes, then creates one named after this process.
    pub(crate) fn create() -> anyhow::Result<Arc<StackDir>> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let root = target().join("devstack");
        fs::create_dir_all(&root).with_context(|| format!("cannot create {}", root.display()))?;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        if count == 0 {
            tidy(&root);
        }
        let (pid, started) = this();
        let path = root.join(format!("stack-{pid}-{started}-{count}"));
        fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        if std::env::var_os("DEVSTACK_KEEP").is_some() {
            fs::write(path.join(KEEP), "")?;
        }
        Ok(Arc::new(StackDir { path }))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.path.join(KEEP).exists()
    }
}

impl Drop for StackDir {
    fn drop(&mut self) {
        if self.is_kept() {
            eprintln!("devstack: kept {}", self.path.display());
        } else {
            remove(&self.path);
        }
    }
}

/// Removes the folders of stacks whose owner is dead, and kills processes that still run in them: a frozen
/// backend does not notice that its postmaster died.
fn tidy(root: &Path) {
    let Ok(entries) = fs::read_dir(root) else { return };
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let is_dead = name.to_str().and_then(|name| name.strip_prefix("stack-")).is_some_and(owner_is_dead);
        if path.join(KEEP).exists() || !is_dead {
            continue;
        }
        let elsewhere = fs::read_link(path.join(ELSEWHERE)).ok();
        for stat in everyone() {
            let Ok(cwd) = fs::read_link(format!("/proc/{}/cwd", stat.pid)) else { continue };
            if cwd.starts_with(&path) || elsewhere.as_ref().is_some_and(|dir| cwd.starts_with(dir)) {
                let _ = send(stat.pid, Signal::KILL);
            }
        }
        remove(&path);
    }
}

fn remove(path: &Path) {
    if let Ok(elsewhere) = fs::read_link(path.join(ELSEWHERE)) {
        let _ = fs::remove_dir_all(elsewhere);
    }
    if let Err(error) = fs::remove_dir_all(path) {
        eprintln!("devstack: cannot remove {}: {error}", path.display());
    }
}

/// Creates a folder that later processes reuse. It gets its name only once it is complete. If another process
/// was faster, that folder is equally good.
pub(crate) fn keep(kept: &Path, make: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let new = kept.with_extension(format!("new-{}-{:08x}", std::process::id(), fastrand::u32(..)));
    make(&new).and_then(|()| Ok(fs::rename(&new, kept)?)).inspect_err(|_| {
        let _ = fs::remove_dir_all(&new);
    })
}
