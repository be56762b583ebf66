//! Devices with the names that real ones have: applied, fenced, listed, redriven and erased.

use shared::cache::{Cache, Lookup};
use shared::devices::{DeviceId, RESOURCE};

use crate::erase::fill;
use crate::prelude::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_device_with_any_name_is_applied_fenced_and_erased() {
    let (kit, worker) = Kit::with_worker("names", 1).await;
    let cache = Cache::open(&run_config(&kit.scope).stores.redis, &[&RESOURCE]).unwrap();
    let names = ["site-7/line 1", "{a}#[1]%", r#"a"b\c"#, "user@host+1", "?", "*"];
    for name in names {
        let device: DeviceId = name.parse().unwrap();
        kit.apply(name, "1", "{}").await;
        fill(&kit, &cache, &device).await;
        kit.apply(name, "2", "{}").await;
        let is_fenced = async || match cache.get(&device.cache_key()).await {
            Lookup::Hit(body) => serde_json::from_slice::<Value>(&body).unwrap(),
            other => panic!("{name}: {other:?}"),
        };
        until(&format!("{name} is fenced"), async || is_fenced().await["version"] == 2).await;
        assert_eq!(is_fenced().await["id"], name);
    }
    for name in names {
        let said = kit.erase(name, &[]).await.unwrap();
        assert!(said.starts_with(&format!("erased {name}: 2 events, version 2; ")), "{said}");
        assert_eq!(kit.version(name).await, None);
        let device: DeviceId = name.parse().unwrap();
        assert_eq!(cache.get(&device.cache_key()).await, Lookup::Miss, "{name}");
    }
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_of_a_device_with_any_name_is_listed_and_redriven() {
    let (kit, worker) = Kit::with_worker("names_letters", 1).await;
    let name = "site-7/{line 1}";
    kit.letter(name, "e-1", 0, &[]).await;
    kit.letter("other", "e-1", 1, &[]).await;
    let said = kit.command(&["dlq", "list", "--key", name]).await;
    assert!(said.out.contains(r#" key="site-7/{line 1}" event=e-1 "#) && said.out.lines().count() == 1, "{said:?}");
    assert_eq!(kit.list(&["--key", name]).await[0]["key"], name);
    assert_eq!(kit.show(0, 0).await.unwrap()["key"], name);
    let (redriven, _) = kit.redrive(&["--key", name]).await.unwrap();
    assert_eq!(redriven.sent, 1);
    kit.until("SELECT count(*) FROM resources WHERE id = 'site-7/{line 1}'", 1).await;
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_no_device_can_have_is_a_dead_letter_that_says_why() {
    let (kit, worker) = Kit::with_worker("names_refused", 1).await;
    for name in ["K\u{fc}hlraum", "a/../b", " a"] {
        kit.event(name, "1", "{}").await;
    }
    kit.apply("d", "behind", "{}").await;
    let letters = kit.dead_letters(3).await;
    let mut said: Vec<_> = letters.iter().map(|letter| header(letter, "dlq.error").unwrap()).collect();
    said.sort();
    assert_eq!(
        said,
        [
            "subject: may contain only printable ASCII characters: beyond ASCII, one name can be encoded in several ways",
            "subject: must not begin or end with a blank",
            "subject: must not have a segment . or .. between slashes: HTTP clients remove it from a path",
        ]
    );
    worker.stop().await.unwrap();
}
