//! The threads that serve connections: one for each processor, each with a runtime of its own. A connection stays on the
//! thread that it was given to, so that nothing of a request has to wake another thread.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Context as _;
use shared::runtime::cores;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// The threads. They end when this is dropped, and what still runs on them is dropped with it.
pub struct Cores(Vec<Core>);

struct Core {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
    /// Dropped, it ends the thread.
    _end: oneshot::Sender<()>,
}

/// A connection of a core, which counts until this is dropped.
pub(super) struct OpenConnection(Arc<AtomicUsize>);

impl Cores {
    /// Starts this many threads, one at least.
    pub fn start(threads: usize) -> anyhow::Result<Self> {
        let all = (0..threads.max(1)).map(Core::start).collect::<io::Result<Vec<_>>>();
        Ok(Self(all.context("the threads of the server cannot be started")?))
    }

    /// The runtimes of all threads.
    pub fn runtimes(&self) -> impl Iterator<Item = &Handle> {
        self.0.iter().map(|core| &core.runtime)
    }

    /// Runs `serve` on the thread with the fewest connections; it also gets the number of the thread.
    pub(super) fn spawn<F: Future<Output = ()> + Send + 'static>(
        &self,
        serve: impl FnOnce(usize, OpenConnection) -> F,
    ) {
        let numbered = self.0.iter().enumerate();
        let emptiest = numbered.min_by_key(|(_, core)| core.connections.load(Ordering::Relaxed));
        if let Some((number, core)) = emptiest {
            core.connections.fetch_add(1, Ordering::Relaxed);
            core.runtime.spawn(serve(number, OpenConnection(Arc::clone(&core.connections))));
        }
    }
}

impl Core {
    fn start(number: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        thread::Builder::new().name(format!("core-{number}")).spawn(move || {
            cores::enter(number);
            // The sender is never used, only dropped.
            let _ = runtime.block_on(ended);
            // Does not wait for threads that may hang in a call to a server that is down.
            runtime.shutdown_background();
        })?;
        Ok(Self { runtime: handle, connections: Arc::default(), _end: end })
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn the_core_with_the_fewest_connections_gets_the_next_one_and_keeps_it() {
        let cores = Cores::start(3).unwrap();
        let (told, on) = mpsc::channel();
        let mut ends = Vec::new();
        let mut open = || {
            let (told, (end, ended)) = (told.clone(), oneshot::channel::<()>());
            cores.spawn(|number, open| async move {
                told.send((number, thread::current().name().map(str::to_owned))).unwrap();
                let _ = ended.await;
                drop(open);
                told.send((number, None)).unwrap();
            });
            let (number, name) = on.recv().unwrap();
            assert_eq!(name, Some(format!("core-{number}")));
            ends.push((number, end));
            number
        };
        let numbers: Vec<_> = (0..6).map(|_| open()).collect();
        assert_eq!(numbers, [0, 1, 2, 0, 1, 2]);
        for _ in 0..2 {
            let (_, end) = ends.remove(ends.iter().position(|(number, _)| *number == 1).unwrap());
            drop(end);
            assert_eq!(on.recv().unwrap(), (1, None));
        }
        let (told, on) = mpsc::channel();
        for _ in 0..2 {
            let told = told.clone();
            cores.spawn(|number, open| async move {
                told.send(number).unwrap();
                std::future::pending::<()>().await;
                drop(open);
            });
            assert_eq!(on.recv().unwrap(), 1);
        }
        drop(told);
        drop(cores);
        assert!(on.recv().is_err(), "what ran there is dropped");
    }

    #[test]
    fn there_is_one_at_least() {
        assert_eq!(Cores::start(0).unwrap().runtimes().count(), 1);
    }
}
