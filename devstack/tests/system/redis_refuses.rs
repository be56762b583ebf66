//! Redis refuses commands: log, metrics and readiness match `docs/operations.md` for each error code.

use devstack::Redis;

use crate::kit::says_down;
use crate::prelude::*;

const OPERATIONS: &str = include_str!("../../../docs/operations.md");
/// The message, which is quoted there with the metric.
const MESSAGE: &str =
    "Redis refuses commands: refused writes are not cached, and no cached state is older than CACHE_TTL";
const METRIC: &str = "redis_refusals_total";

struct Refusal {
    code: &'static str,
    /// The text of this error in log and readiness.
    words: &'static str,
    make: &'static [&'static [&'static str]],
    mend: &'static [&'static str],
    fences_wait: bool,
}

const REFUSALS: [Refusal; 4] = [
    Refusal {
        code: "MISCONF",
        words: "MISCONF",
        // Saving fails, because the folder is not writable.
        make: &[&["CONFIG", "SET", "save", "3600 1"], &["BGSAVE"]],
        mend: &["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"],
        fences_wait: true,
    },
    Refusal {
        code: "NOREPLICAS",
        words: "NOREPLICAS",
        make: &[&["CONFIG", "SET", "min-replicas-to-write", "1"]],
        mend: &["CONFIG", "SET", "min-replicas-to-write", "0"],
        fences_wait: true,
    },
    Refusal {
        code: "OOM",
        words: "OOM",
        make: &[&["CONFIG", "SET", "maxmemory", "1"]],
        mend: &["CONFIG", "SET", "maxmemory", "0"],
        fences_wait: false,
    },
    Refusal {
        code: "NOPERM",
        words: "NoPerm",
        make: &[&["ACL", "SETUSER", "default", "-@scripting"]],
        mend: &["ACL", "SETUSER", "default", "+@all"],
        fences_wait: true,
    },
];

/// The codes in the first column of the document's table.
fn documented() -> Vec<&'static str> {
    let (_, table) = OPERATIONS.split_once("| its words begin with |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with("| `"));
    rows.map(|row| row.split('`').nth(1).unwrap()).collect()
}

#[test]
fn each_code_that_the_runbook_tells_of_is_tried_and_no_other() {
    assert_eq!(documented(), REFUSALS.each_ref().map(|refusal| refusal.code));
    for quoted in [MESSAGE, METRIC] {
        assert!(OPERATIONS.contains(&format!("`{quoted}`")), "{quoted}");
    }
    for Refusal { code, words, .. } in &REFUSALS {
        let row = OPERATIONS.lines().find(|line| line.starts_with(&format!("| `{code}`"))).unwrap();
        assert!(row.contains(&format!("`{words}`")), "{row}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_refuses_is_told_of_with_its_code() {
    // If this fails, the last printed commands show which refusal failed.
    for refusal in &REFUSALS {
        is_told(refusal).await;
    }
}

async fn is_told(refusal: &Refusal) {
    let Refusal { code, words, make, mend, fences_wait } = refusal;
    let redis = blocking(|| Redis::start(&["--dir", "/proc"]).unwrap()).await;
    let name = format!("refuses-{}", code.to_ascii_lowercase());
    let url = redis.url();
    let system = System::start(&name, &[("REDIS_URL", &url), ("CACHE_TTL", "10min")]).await;
    let worker = system.worker();
    let mut direct = direct(&url).await;
    let post = async |device: &str, n: i64| {
        assert_eq!(system.post(device, &n.to_string(), &json!({"n": n})).await.unwrap().status(), 202);
    };
    post("cached", 1).await;
    post("other", 1).await;
    system.until("both are there", async || system.rows().await == 2).await;
    system.until("it is cached", async || system.read("cached").await == (1.into(), true)).await;

    for command in *make {
        println!("{command:?}: {:?}", ask(&mut direct, command).await);
    }
    // Redis saves in the background.
    let refuses = async || {
        let (mut direct, mut script) = (direct.clone(), redis::cmd("EVAL"));
        script.arg("return redis.call('SET', KEYS[1], 'x', 'PX', 1)").arg(1).arg("tried");
        script.query_async::<redis::Value>(&mut direct).await.is_err()
    };
    system.until("it refuses", refuses).await;
    let series = format!("{METRIC}{{code=\"{code}\"}}");
    let says = |log: String| logged(&log, MESSAGE, words).next().is_some();
    // A miss whose lease is refused.
    let counted = async || {
        assert_eq!(system.read("other").await.0, 1);
        system.api.sample(&series).await > Some(0.0)
    };
    system.until("the API counts it", counted).await;
    system.until("its log says why", async || says(system.api.service.log())).await;
    let readiness = async || {
        assert_eq!(system.read("other").await.0, 1);
        says_down(&system.api, "redis", words).await
    };
    system.until("its readiness says the same", readiness).await;
    // The worker's fences are refused, or delete entries that they must not replace.
    post("cached", 2).await;
    system.until("it is applied", async || system.rows().await == 3).await;
    system.until("the worker counts it", async || worker.sample(&series).await > Some(0.0)).await;
    system.until("its log says why", async || says(worker.service.log())).await;
    let pending = async || worker.sample(r#"cache_fences_pending{kind="resource"}"#).await.unwrap_or(0.0);
    if *fences_wait {
        system.until("a fence waits", async || pending().await > 0.0).await;
    } else {
        system.until("nothing old is read", async || system.read("cached").await == (2.into(), false)).await;
        assert_eq!(pending().await, 0.0);
    }
    assert_eq!(worker.status().await, "ready", "nobody waits for Redis");

    ask(&mut direct, mend).await.unwrap();
    system.until("no fence waits", async || pending().await == 0.0).await;
    system.until("the newest is cached", async || system.read("cached").await == (2.into(), true)).await;
    system.until("the API says so", async || system.api.dependency("redis").await == json!({"status": "up"})).await;
    worker.end().await;
}
