//! librdkafka's in-process broker, for where there is no Java.

use std::sync::mpsc::{Sender, channel};

use anyhow::Context as _;
use rdkafka::mocking::MockCluster;

type Topic = (String, i32, Sender<anyhow::Result<()>>);

/// A broker in this process, gone with it. librdkafka's handle stays on the thread that made it.
#[derive(Debug)]
pub(crate) struct Mock {
    pub(crate) brokers: String,
    topics: Sender<Topic>,
}

impl Mock {
    pub(crate) fn start() -> anyhow::Result<Mock> {
        let (topics, inbox) = channel::<Topic>();
        let (ready, started) = channel();
        std::thread::spawn(move || {
            let cluster = match MockCluster::new(1) {
                Ok(cluster) => cluster,
                Err(error) => {
                    let _ = ready.send(Err(error));
                    return;
                }
            };
            let _ = ready.send(Ok(cluster.bootstrap_servers()));
            // Ends, and the broker with it, when `Mock` is dropped.
            for (topic, partitions, reply) in inbox {
                let made = cluster.create_topic(&topic, partitions, 1);
                let _ = reply.send(made.with_context(|| format!("cannot create topic {topic}")));
            }
        });
        let brokers = started
            .recv()
            .context("the broker's thread is gone")?
            .context("librdkafka's in-process broker does not start")?;
        Ok(Mock { brokers, topics })
    }

    pub(crate) fn create_topic(&self, topic: &str, partitions: i32) -> anyhow::Result<()> {
        let (reply, answer) = channel();
        self.topics.send((topic.to_owned(), partitions, reply)).ok().context("the broker's thread is gone")?;
        answer.recv().context("the broker's thread is gone")?
    }
}
