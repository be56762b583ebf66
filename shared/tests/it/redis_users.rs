//! A Redis whose user lacks a permission, or that has no memory: the error names what is missing, and the TTL limits
//! how long a stale body is read.

use std::sync::Arc;

use shared::cache::{Added, Found};

use crate::id_sets::{EARLIER, Sets};
use crate::prelude::*;

/// A cache of a user with these ACL rules.
async fn cache_as(kit: &Kit, redis: &Redis, rights: &[&str]) -> Cache {
    let mut direct = connection(redis).await;
    let mut setuser = redis::cmd("ACL");
    setuser.arg("SETUSER").arg("u").arg("reset").arg("on").arg(">p").arg("~*").arg(rights);
    let () = setuser.query_async(&mut direct).await.unwrap();
    let url = format!("redis://u:p@127.0.0.1:{}", redis.port);
    kit.cache_at(&url)
}

#[tokio::test]
async fn what_a_user_may_not_do_is_told_and_what_is_read_is_no_older_than_the_ttl() {
    for (name, rights, said, logged) in [
        ("scripts", &["+@all", "-@scripting"][..], "'eval'", "'evalsha'"),
        ("writes", &["+get", "+getrange", "+del", "+ping"][..], "'eval'", "'evalsha'"),
        ("set", &["+@all", "-set"][..], "'set'", "user executing the script"),
    ] {
        let (log, _guard) = Log::start();
        let kit = Kit::new(&format!("users_{name}")).await;
        let redis = start(&[]).await;
        let cache = cache_as(&kit, &redis, rights).await;
        let fencer = Fencer::new(cache.clone(), kit.store.clone());
        kit.write("a", 1).await;
        let old = kit.body("a").await;
        let ttl = Duration::from_secs(3);
        let put = Instant::now();
        let millis = u64::try_from(ttl.as_millis()).unwrap();
        let () = connection(&redis).await.pset_ex(kit.key("a"), &old, millis).await.unwrap();
        eventually("it is connected", async || cache.get(&key("a")).await != Lookup::Unavailable).await;

        let versions = kit.write("a", 2).await.fences;
        let outcome = fencer.fence(&versions).await.outcomes;
        if name == "set" {
            // A body that the user may not replace is deleted.
            assert_eq!(outcome, [FenceOutcome::Deleted]);
            assert_eq!(cache.get(&key("a")).await, Lookup::Miss);
            assert_eq!(cache.lease(&key("a")).await, None);
        } else {
            assert_eq!(outcome, [FenceOutcome::Pending]);
            // The older of two versions is read, and a hit does not extend its TTL.
            eventually("it ends", async || match cache.get(&key("a")).await {
                Lookup::Miss => true,
                found => {
                    assert_eq!(found, Lookup::Hit(old.clone().into()));
                    false
                }
            })
            .await;
            assert!(put.elapsed() >= ttl, "it was there until its TTL ended");
        }
        assert_says(&cache, said).await;
        // The error of a script has another text than the error of the command itself.
        assert!((1..=2).contains(&log.count("Redis refuses commands")), "{name}: once, in its own words");
        assert_eq!(log.count(logged), 1, "{name}: once, in its own words");
        assert_eq!(log.count("Redis is away"), 0, "{name}: it is there");

        // Grant the missing permission.
        let mut direct = connection(&redis).await;
        let () = redis::cmd("ACL").arg("SETUSER").arg("u").arg("+@all").query_async(&mut direct).await.unwrap();
        assert!(fencer.finish(Duration::from_secs(30)).await, "{name}");
        eventually("a miss is filled", async || cache.lease(&key("b")).await.is_some()).await;
        eventually("nothing is missing", async || cache.answering().await.all().is_ok()).await;
    }
}

#[tokio::test]
async fn of_a_user_who_may_not_delete_nothing_is_read() {
    let (log, _guard) = Log::start();
    let kit = Kit::new("users_del").await;
    let redis = start(&[]).await;
    // Without DEL the client cannot detect a replica.
    let cache = cache_as(&kit, &redis, &["+@all", "-del"]).await;
    for _ in 0..5 {
        assert_eq!(cache.get(&key("a")).await, Lookup::Unavailable);
    }
    eventually("the log says why", async || log.count("'del'") > 0).await;
    assert_says(&cache, "'del'").await;
}

#[tokio::test]
async fn a_user_of_the_prefix_alone_fences_and_where_it_may_not_replace_it_deletes() {
    let (log, _guard) = Log::start();
    let kit = Kit::new("users_prefix").await;
    let redis = start(&[]).await;
    let pattern = format!("~{}*", kit.scope.cache_prefix);
    let cache = cache_as(&kit, &redis, &["resetkeys", &pattern, "+@all"]).await;
    let fencer = Fencer::new(cache.clone(), kit.store.clone());
    eventually("it is connected", async || cache.get(&key("a")).await == Lookup::Miss).await;
    let first = kit.write("a", 1).await.fences;
    assert_eq!(fencer.fence(&first).await.outcomes, [FenceOutcome::Absent]);
    kit.fill(&cache, &id("a")).await;
    eventually("all is well", async || cache.answering().await.all().is_ok()).await;
    let second = kit.write("a", 2).await.fences;
    // The key that marks an erased device does not begin with the prefix, so the script may not read it.
    assert_eq!(fencer.fence(&second).await.outcomes, [FenceOutcome::Deleted]);
    assert_eq!(cache.get(&key("a")).await, Lookup::Miss);
    assert_eq!(log.count("Redis is away"), 0);
}

#[tokio::test]
async fn for_the_caps_the_commands_that_the_documentation_names_are_enough() {
    const DOCS: &str = include_str!("../../../docs/operations.md");
    let told = DOCS.lines().find(|line| line.contains("if you limit its users by ACL")).unwrap();
    let (of_one_server, _) = told.split_once("; and in a cluster").unwrap();
    let named = of_one_server.split('`').skip(1).step_by(2);
    let commands = named.filter(|name| name.chars().all(|c| c.is_ascii_uppercase()));
    let rights: Vec<_> = commands.map(|name| format!("+{}", name.to_lowercase())).collect();
    assert!(rights.len() > 10, "{rights:?}");
    let redis = start(&[]).await;
    let mut setuser = redis::cmd("ACL");
    setuser.arg("SETUSER").arg("u").arg("reset").arg("on").arg(">p").arg("~p:set:*").arg(&rights);
    let () = setuser.query_async(&mut connection(&redis).await).await.unwrap();

    let mut sets = Sets::at(&format!("redis://u:p@127.0.0.1:{}", redis.port), "p:");
    assert_eq!(sets.note(EARLIER).await, 1);
    let b = sets.new_id("s", "b", 2);
    assert_eq!(sets.added("s", "a").await, Added::New);
    assert_eq!(sets.sets.add(std::slice::from_ref(&b)).await, [Added::New]);
    assert_eq!([sets.added("s", "a").await, sets.added("s", "c").await], [Added::There, Added::Full]);
    assert!(sets.sets.release(&[Arc::clone(&b.entry)]).await);
    assert_eq!(sets.sets.find(&[b]).await, [Found::Absent]);
    assert!(sets.sets.fill(&sets.new_id("t", "any", 2), &["x".parse().unwrap()]).await);
    assert_eq!(sets.sets.find(&[sets.new_id("t", "x", 2)]).await, [Found::There]);
    sets.sets.delete(&["s".to_owned(), "t".to_owned()]).await.unwrap();
    assert_eq!(sets.sets.find(&[sets.new_id("t", "x", 2)]).await, [Found::Absent]);
}
