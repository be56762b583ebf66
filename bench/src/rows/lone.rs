//! A lone `POST /events`, one after the other on one connection, against the broker's own acknowledgement: that of a bare
//! producer without linger, one record after the other.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::producer::FutureProducer;
use tokio::runtime::Runtime;

use crate::Scale;
use crate::bed::{Site, TestBed};
use crate::load::{Latency, PROBES};
use crate::records::{self, Ready};
use crate::report::{Bound, Figure};
use crate::rows::take_turns;

const DEVICES: usize = 1_000;

pub(crate) fn measure(bed: &TestBed, scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let site = Site::new(bed, "lone")?;
    let api = site.api(&[])?;
    let producer: FutureProducer =
        records::settings(&site.scope.endpoints.kafka_brokers)?.set("linger.ms", "0").create()?;
    let records: Vec<Ready> = (0..DEVICES)
        .map(|number| Ok(Ready::of(&records::event(number, DEVICES, "lone")?)))
        .collect::<anyhow::Result<_>>()?;
    let bodies: Vec<String> = (0..DEVICES).map(|number| records::body(number, 100)).collect();
    // One thread for both, so that no request wakes up another one.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let (url, probes) = (format!("{}/events", api.url), PROBES.div_ceil(scale.rounds));
    let (mut turns, mut all) = (0, [Vec::new(), Vec::new()]);
    let [posted, acknowledged] = take_turns(scale.rounds, ["POST, p50 ms", "acknowledged, p50 ms"], |turn| {
        let took = match turn {
            0 => times(&runtime, &bodies, probes, async |body: &String| {
                let post = client.post(&url).bearer_auth(&bed.token).header("content-type", "application/json");
                post.body(body.clone()).send().await?.error_for_status()?.bytes().await?;
                Ok(())
            }),
            _ => times(&runtime, &records, probes, async |record: &Ready| {
                producer.send(record.to(&site.scope.input_topic), Duration::ZERO).await.map_err(|(error, _)| error)?;
                Ok(())
            }),
        }?;
        let p50 = Latency::of(took.clone()).p50;
        turns += 1;
        if turns > all.len() {
            all.get_mut(turn).context("a turn")?.extend(took);
        }
        Ok(p50)
    })?;
    let [of_posts, of_records] = all.map(Latency::of);
    let row = Figure {
        latencies: vec![
            ("POST /events".to_owned(), of_posts),
            ("the acknowledgement of a bare producer, linger 0".to_owned(), of_records),
        ],
        ..Figure::new("a lone POST, p50, over the acknowledgement", "ms", posted.minus(&acknowledged))
    };
    Ok(vec![row.bound(Bound::Below(1.0)).goal(0.3)])
}

/// How long each of so many took, one after the other.
fn times<T>(
    runtime: &Runtime,
    all: &[T],
    probes: u32,
    one: impl AsyncFn(&T) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<Duration>> {
    runtime.block_on(async {
        let mut took = Vec::new();
        for (_, next) in (0..probes).zip(all.iter().cycle()) {
            let began = Instant::now();
            one(next).await?;
            took.push(began.elapsed());
        }
        Ok(took)
    })
}
