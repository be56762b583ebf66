//! A deployment under load: new instances start beside the old ones, then the old ones get SIGTERM. No client
//! may notice.

use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::kit::Running;
use crate::prelude::*;

/// The interval of the health checks, and how many failures in a row make a target unhealthy: typical of a fast
/// load balancer, and together less than the default of `DRAIN_DELAY`.
const LOOK: Duration = Duration::from_millis(500);
const UNHEALTHY_AFTER: usize = 2;
const DEVICES: usize = 8;

/// A load balancer: checks the readiness of each target, and sends requests to ready ones over persistent
/// connections. It does not retry.
#[derive(Default)]
struct Balancer {
    targets: RwLock<Vec<Arc<Target>>>,
    next: AtomicUsize,
}

struct Target {
    base: String,
    in_use: AtomicBool,
    kept: reqwest::Client,
    /// The client for health checks; a new connection each time, as in most load balancers.
    asking: reqwest::Client,
}

impl Balancer {
    fn register(self: &Arc<Self>, base: &str) -> Arc<Target> {
        let client = || reqwest::Client::builder().timeout(Duration::from_secs(30));
        let (kept, asking) = (client().build().unwrap(), client().pool_max_idle_per_host(0).build().unwrap());
        let target = Arc::new(Target { base: base.to_owned(), in_use: AtomicBool::new(false), kept, asking });
        self.targets.write().unwrap().push(Arc::clone(&target));
        tokio::spawn(Arc::clone(&target).look());
        target
    }

    fn pick(&self) -> Arc<Target> {
        let targets = self.targets.read().unwrap();
        let in_use: Vec<_> = targets.iter().filter(|target| target.in_use.load(Ordering::Relaxed)).collect();
        assert!(!in_use.is_empty(), "no target is ready");
        Arc::clone(in_use[self.next.fetch_add(1, Ordering::Relaxed) % in_use.len()])
    }
}

impl Target {
    async fn look(self: Arc<Self>) {
        let mut failures = 0;
        loop {
            let asked = self.asking.get(format!("{}/health/ready", self.base)).send().await;
            let ready = asked.is_ok_and(|answer| answer.status() == 200);
            failures = if ready { 0 } else { failures + 1 };
            if ready {
                self.in_use.store(true, Ordering::Relaxed);
            } else if failures >= UNHEALTHY_AFTER {
                self.in_use.store(false, Ordering::Relaxed);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// A device that sends numbered events and reads its resource until stopped; every first answer must be
/// correct.
async fn device(system: Arc<System>, balancer: Arc<Balancer>, name: String, stop: Arc<AtomicBool>) -> Sent {
    let mut accepted = 0;
    while !stop.load(Ordering::Relaxed) {
        let event = json!({"device_id": name, "event_id": (accepted + 1).to_string(), "payload": {"n": accepted + 1}});
        let target = balancer.pick();
        let post = target.kept.post(format!("{}/events", target.base)).bearer_auth(&system.token).json(&event);
        let answer = post.send().await.unwrap_or_else(|error| panic!("POST to {}: {error:?}", target.base));
        assert_eq!(answer.status(), 202, "{}: {:?}", target.base, answer.text().await);
        accepted += 1;
        let target = balancer.pick();
        let get = target.kept.get(format!("{}/resource/{name}", target.base)).bearer_auth(&system.token);
        let answer = get.send().await.unwrap_or_else(|error| panic!("GET from {}: {error:?}", target.base));
        let status = answer.status().as_u16();
        assert!(status == 200 || status == 404, "{}: {status}: {:?}", target.base, answer.text().await);
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    Sent { device: name, accepted, refused: Default::default() }
}

async fn ready(system: &System, targets: &[Arc<Target>]) {
    let all = async || targets.iter().all(|target| target.in_use.load(Ordering::Relaxed));
    system.until("the new instances are in use", all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_of_both_services_under_load_loses_nothing_and_answers_nobody_with_an_error() {
    let system = System::start("rolling", &[]).await;
    let balancer = Arc::new(Balancer::default());
    let mut apis: Vec<Api> = (0..2).map(|_| system.another_api()).collect();
    let mut workers: Vec<Running> = (0..2).map(|_| system.worker()).collect();
    let targets: Vec<_> = apis.iter().map(|api| balancer.register(&api.url(""))).collect();
    ready(&system, &targets).await;

    let stop = Arc::new(AtomicBool::new(false));
    let devices: Vec<_> = (0..DEVICES)
        .map(|n| {
            tokio::spawn(device(Arc::clone(&system), Arc::clone(&balancer), format!("device-{n}"), Arc::clone(&stop)))
        })
        .collect();
    for _ in 0..2 {
        system.some_more().await;

        let fresh: Vec<_> = (0..2).map(|_| system.another_api()).collect();
        let targets: Vec<_> = fresh.iter().map(|api| balancer.register(&api.url(""))).collect();
        ready(&system, &targets).await;
        join_all(std::mem::replace(&mut apis, fresh).into_iter().map(|api| api.running.end())).await;

        let fresh: Vec<_> = (0..2).map(|_| system.worker()).collect();
        for worker in &fresh {
            system.until("the new worker is ready", async || worker.status().await == "ready").await;
        }
        join_all(std::mem::replace(&mut workers, fresh).into_iter().map(Running::end)).await;
    }
    system.some_more().await;

    stop.store(true, Ordering::Relaxed);
    let mut sent = Vec::new();
    for device in devices {
        sent.push(tokio::time::timeout(TEST_TIMEOUT, device).await.expect("a device hangs").unwrap());
    }
    system.settle_rows(&sent).await;
    for Sent { device, accepted, .. } in &sent {
        let read = async || {
            let target = balancer.pick();
            let get = target.kept.get(format!("{}/resource/{device}", target.base)).bearer_auth(&system.token);
            get.send().await.unwrap().json::<Value>().await.unwrap()["version"] == json!(accepted)
        };
        system.until("what is read is the row", read).await;
    }
}
