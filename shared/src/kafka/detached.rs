//! The end of a client of librdkafka, which can take long: while the issuer of access tokens takes requests and does not
//! answer, it waits for the request under way, for up to 20 s. So a thread of its own waits: an async task would block
//! its thread, with the timers and sockets that it drives, and a shutdown would be late.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::KafkaResult;

/// A client that nobody waits for when it is dropped.
pub struct Detached<T: Send + Sync + 'static> {
    client: Arc<T>,
    /// Dropped behind `client`: then the thread has its last reference.
    released: Option<Sender<()>>,
}

impl<T: Send + Sync + 'static> Detached<T> {
    fn new(client: T) -> Self {
        Self { client: Arc::new(client), released: None }
    }
}

impl<T: Send + Sync + 'static> Deref for Detached<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.client
    }
}

impl<T: Send + Sync + 'static> Drop for Detached<T> {
    fn drop(&mut self) {
        let (released, is_released) = channel();
        self.released = Some(released);
        let client = Arc::clone(&self.client);
        aside(move || {
            // It fails when the other end is dropped.
            let _ = is_released.recv();
            drop(client);
        });
    }
}

impl<C: ClientContext, T> FromClientConfigAndContext<C> for Detached<T>
where
    T: FromClientConfigAndContext<C> + Send + Sync + 'static,
{
    fn from_config_and_context(config: &ClientConfig, context: C) -> KafkaResult<Self> {
        T::from_config_and_context(config, context).map(Self::new)
    }
}

/// Drops a client without waiting for it. A consumer must have left its group: the process may end before the thread.
pub fn detach<T: Send + 'static>(client: T) {
    aside(move || drop(client));
}

fn aside(end: impl FnOnce() + Send + 'static) {
    // Without a thread what `end` holds is dropped here.
    drop(thread::Builder::new().name("kafka-end".to_owned()).spawn(end));
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Receiver;

    use super::*;

    /// Ends when it is told to, and tells in which thread.
    struct Slow {
        may_end: std::sync::Mutex<Receiver<()>>,
        ended: Sender<thread::ThreadId>,
    }

    impl Drop for Slow {
        fn drop(&mut self) {
            self.may_end.get_mut().unwrap().recv().unwrap();
            self.ended.send(thread::current().id()).unwrap();
        }
    }

    #[test]
    fn whoever_drops_a_client_does_not_wait_for_its_end() {
        for round in 0..100 {
            let ((end, may_end), (ended, has_ended)) = (channel(), channel());
            let slow = Slow { may_end: may_end.into(), ended };
            if round % 2 == 0 {
                drop(Detached::new(slow))
            } else {
                detach(slow)
            }
            end.send(()).unwrap();
            assert_ne!(has_ended.recv().unwrap(), thread::current().id());
        }
    }
}
