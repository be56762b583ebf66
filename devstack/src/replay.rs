//! Replays a file of events over HTTP as their devices would send them: one connection per device, one event
//! after the other, the line number as `event_id`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

#[derive(Debug, Default)]
struct Device {
    bodies: Vec<String>,
    last: Value,
}

#[derive(Debug)]
pub struct Replay(BTreeMap<String, Device>);

/// The number of posts per response status.
pub type Posted = BTreeMap<u16, usize>;

#[derive(Deserialize)]
struct Line<'a> {
    device_id: String,
    #[serde(borrow)]
    payload: &'a RawValue,
}

impl Replay {
    /// Reads a file of JSON lines, gzipped or not; keeps the lines whose number, from 1 on, is chosen.
    pub fn read(path: &Path, chosen: impl Fn(usize) -> bool) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let zipped = path.extension().is_some_and(|extension| extension == "gz");
        let text: Box<dyn Read> = if zipped { Box::new(flate2::read::GzDecoder::new(file)) } else { Box::new(file) };
        let mut devices: BTreeMap<String, Device> = BTreeMap::new();
        for (number, line) in (1_usize..).zip(BufReader::new(text).lines()) {
            let line = line?;
            if !chosen(number) {
                continue;
            }
            let event: Line<'_> = serde_json::from_str(&line).with_context(|| format!("line {number} is no event"))?;
            let device = devices.entry(event.device_id.clone()).or_default();
            device.last = serde_json::from_str(event.payload.get())?;
            let id = Value::from(event.device_id);
            device.bodies.push(format!(r#"{{"device_id":{id},"event_id":"{number}","payload":{}}}"#, event.payload));
        }
        Ok(Self(devices))
    }

    pub fn events(&self) -> usize {
        self.0.values().map(|device| device.bodies.len()).sum()
    }

    pub fn devices(&self) -> usize {
        self.0.len()
    }

    pub async fn post(&self, api: &str, token: &str) -> anyhow::Result<Posted> {
        let client = reqwest::Client::new();
        let mut tasks = Vec::new();
        for device in self.0.values() {
            let (url, token, bodies) = (format!("{api}/events"), token.to_owned(), device.bodies.clone());
            let client = client.clone();
            tasks.push(tokio::spawn(async move {
                let mut posted = Posted::default();
                for body in bodies {
                    let request = client.post(&url).bearer_auth(&token).header("content-type", "application/json");
                    let response = request.body(body).send().await?;
                    *posted.entry(response.status().as_u16()).or_default() += 1;
                    // Read the whole body, so that the connection can be reused.
                    response.bytes().await?;
                }
                anyhow::Ok(posted)
            }));
        }
        let mut all = Posted::default();
        for task in tasks {
            for (status, count) in task.await?? {
                *all.entry(status).or_default() += count;
            }
        }
        Ok(all)
    }

    /// Waits until each resource shows its device's last event, with the number of its events as version.
    pub async fn verify(&self, api: &str, token: &str, within: Duration) -> anyhow::Result<()> {
        let client = reqwest::Client::new();
        let deadline = Instant::now() + within;
        for (id, device) in &self.0 {
            let expected = device.bodies.len() as u64;
            loop {
                let response = client.get(format!("{api}/resource/{id}")).bearer_auth(token).send().await?;
                let answer = response.text().await?;
                let body: Value = serde_json::from_str(&answer).unwrap_or_default();
                let version = body.get("version").and_then(Value::as_u64).unwrap_or(0);
                ensure!(version <= expected, "{id} is at version {version}: too many");
                if version == expected {
                    ensure!(body.get("payload") == Some(&device.last), "{id} is not its last event: {body}");
                    break;
                }
                ensure!(Instant::now() < deadline, "{id} is not at version {expected} after {within:?}: {answer}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }
}
