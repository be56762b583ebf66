//! The binary under attack: it needs little memory, and still serves other clients. Each test prints its figures.

use std::io::Write as _;

use reqwest::Client;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::JoinSet;

use crate::encodings::gzip;
use crate::prelude::*;

/// The binary, and a well-behaved client.
struct Attacked {
    binary: Binary,
    client: Client,
    token: String,
    /// The memory before the attack. All figures are in MiB.
    before: usize,
}

impl Attacked {
    async fn start(name: &str, settings: &[(&str, &str)]) -> Self {
        let scope = prepared(name).await;
        let binary = Binary::with(&scope, settings);
        let client = Client::builder().pool_max_idle_per_host(0).timeout(Duration::from_secs(60)).build().unwrap();
        let mut this = Self { binary, client, token: admin(), before: 0 };
        this.well_behaved("before").await;
        this.before = this.binary.resident();
        this
    }

    async fn post(&self, path: &str, body: Vec<u8>, encoding: &str) -> Response {
        let request = self.client.post(self.binary.url(path)).bearer_auth(&self.token);
        let request = request.header("content-type", "application/json").header("content-encoding", encoding);
        request.body(body).send().await.unwrap()
    }

    /// Posts as an ordinary client does, each time on a new connection. All events have to be accepted.
    async fn well_behaved(&self, when: &str) {
        let mut took = Vec::new();
        for _ in 0..40 {
            let start = Instant::now();
            assert_eq!(self.post("/events", EVENT.into(), "identity").await.status(), 202, "{when}");
            took.push(start.elapsed());
        }
        took.sort();
        println!("{when}: 40 of 40 accepted, median {:.1?}, slowest {:.1?}", took[20], took[39]);
    }

    /// Prints the memory, and checks that its peak is less than `more` above the start.
    fn memory(&self, when: &str, more: usize) {
        let (before, now, peak) = (self.before, self.binary.resident(), self.binary.peak());
        println!("{when}: {before} MiB before, {now} MiB now, {peak} MiB at the peak");
        assert!(peak < before + more, "{when}: {peak} MiB");
    }
}

/// Raises the limit of open files to its maximum, which must suffice for these connections. The binary inherits it.
fn raise_limit(connections: usize) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let needed = u64::try_from(connections + 500).unwrap();
    assert!(
        maximum.is_none_or(|maximum| maximum >= needed),
        "{needed} files have to be open at once, and the hard limit is {maximum:?}: raise it (ulimit -Hn {needed})"
    );
}

/// Opens `count` connections, a few hundred at a time, and sends this text on each.
async fn open(address: std::net::SocketAddr, count: usize, text: &str, answered: bool) -> Vec<Raw> {
    let mut all = Vec::with_capacity(count);
    while all.len() < count {
        let mut some = JoinSet::new();
        for _ in 0..(count - all.len()).min(250) {
            let text = text.to_owned();
            some.spawn(async move {
                let mut raw = Raw::send(address, &text).await;
                if answered {
                    raw.read_answer().await;
                }
                raw
            });
        }
        all.extend(some.join_all().await);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections() {
    let count = 10_000;
    raise_limit(count);
    let cap = (count + 100).to_string();
    let attacked = Attacked::start("hostile_idle", &[("MAX_CONNECTIONS", &cap), ("KEEP_ALIVE_TIMEOUT", "120s")]).await;
    let address = attacked.binary.address;
    let start = Instant::now();
    let silent = open(address, count / 2, "", false).await;
    let answered = open(address, count - count / 2, LIVE, true).await;
    println!("{count} idle connections in {:.1?}", start.elapsed());
    attacked.memory("idle connections", 256);
    attacked.well_behaved("beside them").await;
    drop((silent, answered));
    assert_eq!(attacked.binary.terminate().0, Some(0));
}

/// The backlog has room for a fleet that reconnects at once, while the service accepts nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_wait_to_be_accepted() {
    let count = 1_000;
    raise_limit(2 * count);
    let attacked = Attacked::start("hostile_herd", &[]).await;
    attacked.binary.service.freeze().unwrap();
    let address = attacked.binary.address;
    let herd = (0..count).map(|_| Raw::connect(address)).collect::<JoinSet<_>>();
    // If the backlog is full, the kernel drops the connection attempt, and the client retries.
    let connected = tokio::time::timeout(Duration::from_secs(60), herd.join_all()).await;
    attacked.binary.service.thaw().unwrap();
    for raw in &mut connected.expect("not all are let in, or net.core.somaxconn is less than 1,000") {
        raw.write(LIVE).await;
        raw.read_answer().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_and_bodies_that_never_end() {
    let count = 400;
    raise_limit(count);
    // The bodies become slow, and then are late.
    let settings = [("KEEP_ALIVE_TIMEOUT", "5s"), ("BODY_TIMEOUT", "8s")];
    let attacked = Attacked::start("hostile_slow", &settings).await;
    let address = attacked.binary.address;
    let start = Instant::now();
    let half_a_head = format!("GET / HTTP/1.1\r\nhost: test\r\nx: {}", "x".repeat(12 * 1024));
    let mut heads = open(address, count / 2, &half_a_head, false).await;
    let half_a_body = format!("{}{}", post(&attacked.token, 30_000), " ".repeat(15_000));
    let mut bodies = open(address, count - count / 2, &half_a_body, false).await;
    attacked.well_behaved("beside slow ones").await;
    attacked.memory("slow ones", 256);

    // They continue, a byte at a time, until the server closes the connection.
    let mut dribbling = JoinSet::new();
    for mut raw in heads.drain(..).chain(bodies.drain(..)) {
        dribbling.spawn(async move {
            while raw.write_as_far_as_it_goes(b"x").await {
                tokio::time::sleep(Duration::from_millis(500)).await;
                assert!(start.elapsed() < Duration::from_secs(120), "it is not closed");
            }
            start.elapsed()
        });
    }
    let mut took = dribbling.join_all().await;
    took.sort();
    println!(
        "{count} slow connections: the first closed after {:.1?}, the last after {:.1?}",
        took[0],
        took[count - 1]
    );
    attacked.well_behaved("behind them").await;
    attacked.memory("behind them", 256);
}

#[tokio::test(flavor = "multi_thread")]
async fn bombs_and_nests() {
    let attacked = Attacked::start("hostile_bombs", &[]).await;
    let zeros = |mib: usize| vec![b' '; mib << 20];
    // As large on the wire as is permitted, or as can be made without taking minutes.
    let (packed, zstd) = (gzip(&zeros(250)), zstd::encode_all(zeros(250).as_slice(), 1).unwrap());
    let nest = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let payload = format!(r#"{{"device_id":"d","payload":{{"x":{}}}}}"#, nest(100_000));
    let table = [
        ("gzip", 250 << 20, packed, [413, 413]),
        ("gzip", 0, gzip(b"").repeat(13_000), [400, 400]),
        ("zstd", 250 << 20, zstd, [413, 413]),
        // For a single event: not an object. For a batch: an array whose one item is not an object.
        ("identity", 0, nest(100_000).into_bytes(), [422, 422]),
        ("identity", 0, "[".repeat(200_000).into_bytes(), [400, 400]),
        ("identity", 0, payload.into_bytes(), [422, 422]),
        ("identity", 0, r#"{"a":"#.repeat(40_000).into_bytes(), [400, 400]),
    ];
    for (place, path) in ["/events", "/events/batch"].into_iter().enumerate() {
        for (encoding, unpacked, body, statuses) in &table {
            let status = statuses[place];
            let (size, start) = (body.len(), Instant::now());
            // Ten concurrent requests.
            let mut all = JoinSet::new();
            for _ in 0..10 {
                let (url, token) = (attacked.binary.url(path), attacked.token.clone());
                let (client, body, encoding) = (attacked.client.clone(), body.clone(), (*encoding).to_owned());
                all.spawn(async move {
                    let request = client.post(url).bearer_auth(token).header("content-type", "application/json");
                    request.header("content-encoding", encoding).body(body).send().await.unwrap().status().as_u16()
                });
            }
            let found = all.join_all().await;
            let expected = |found: &u16| *found == status || *found == 503;
            assert!(found.iter().all(expected), "{encoding} {path} {unpacked} {size}: {found:?}");
            assert!(found.contains(&status), "{encoding} {path} {unpacked} {size}: {found:?}");
            println!("{path} {encoding} {size} bytes, 1:{}, 10 times: {:.1?}", unpacked / size, start.elapsed());
        }
    }
    attacked.well_behaved("behind bombs").await;
    attacked.memory("bombs", 256);
}

/// Each body may request a window of 8 MiB. The unused part of a window needs no memory, and is not counted.
#[tokio::test(flavor = "multi_thread")]
async fn windows_that_nobody_fills() {
    let attacked = Attacked::start("hostile_windows", &[]).await;
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(23).unwrap();
    encoder.write_all(&[b' '; 1024]).unwrap();
    encoder.flush().unwrap();
    let head = post(&attacked.token, 200_000).replace("content-type", "content-encoding: zstd\r\ncontent-type");
    let begun = [head.as_bytes(), encoder.get_ref()].concat();
    let mut all = Vec::new();
    // Until this subject's share is used up.
    while attacked.post("/events", EVENT.into(), "zstd").await.status() != 503 {
        assert!(all.len() < 1_000, "they take no room");
        let mut raw = Raw::connect(attacked.binary.address).await;
        assert!(raw.write_as_far_as_it_goes(&begun).await);
        all.push(raw);
    }
    println!("{} windows of 8 MiB", all.len());
    assert!(all.len() > 20, "{}", all.len());
    attacked.memory("windows", 64);
}
