//! Idempotency keys: one answer a key, however often and however concurrently the command is repeated.

use shared::store::idempotency::{Begun, IdempotencyKey, StoredAnswer, WAIT, begin, expire_keys, finish, known};
use shared::store::{Failure, Tx, Work};
use tokio::sync::Notify;

use crate::prelude::*;

const FINGERPRINT: [u8; 32] = [7; 32];

fn key(key: &'static str) -> IdempotencyKey<'static> {
    IdempotencyKey { subject: "alice", key, fingerprint: &FINGERPRINT }
}

fn answer(body: &str) -> StoredAnswer {
    let headers = [("etag", "\"7\""), ("location", "/x/ü"), ("etag", "again")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    StoredAnswer { status: 201, headers: headers.into(), body: body.to_owned() }
}

/// A command whose effect is a row of a table.
struct Command {
    key: IdempotencyKey<'static>,
    body: String,
    pause: Duration,
    fails: bool,
    has_begun: Notify,
}

impl Command {
    fn new(key: IdempotencyKey<'static>, body: &str) -> Self {
        Self { key, body: body.to_owned(), pause: Duration::ZERO, fails: false, has_begun: Notify::new() }
    }
}

impl Work for Command {
    type Output = Begun;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Begun, Failure> {
        let begun = begin(tx, &self.key).await?;
        if begun != Begun::New {
            return Ok(begun);
        }
        self.has_begun.notify_one();
        sqlx::query("INSERT INTO effects VALUES ($1)").bind(&self.body).execute(&mut *tx).await?;
        tokio::time::sleep(self.pause).await;
        finish(tx, &self.key, &answer(&self.body)).await?;
        if self.fails { Err(Failure::failed("on purpose")) } else { Ok(Begun::New) }
    }
}

async fn kit(name: &str) -> Kit {
    let kit = Kit::new(name).await;
    kit.sql("CREATE TABLE effects (body text NOT NULL)").await;
    kit
}

async fn run(kit: &Kit, key: IdempotencyKey<'static>, body: &str) -> Begun {
    kit.store.transact(WAIT, &Command::new(key, body)).await.unwrap()
}

#[tokio::test]
async fn a_repeat_gets_the_answer_of_the_first_time() {
    let kit = kit("keys_repeat").await;
    let first = "{\"a\": \"\u{1f600}\"}\n";
    assert_eq!(run(&kit, key("k"), first).await, Begun::New);
    for _ in 0..2 {
        assert_eq!(run(&kit, key("k"), "another").await, Begun::Replay(answer(first)), "to the byte");
    }
    let other = IdempotencyKey { fingerprint: &[8; 32], ..key("k") };
    assert_eq!(run(&kit, other, "another").await, Begun::Reused);
    let of_bob = IdempotencyKey { subject: "bob", ..other };
    assert_eq!(run(&kit, of_bob, "bob's").await, Begun::New, "a key is its subject's");
    assert_eq!(run(&kit, key("K"), "K's").await, Begun::New, "and has a case");
    assert_eq!(kit.number("SELECT count(*) FROM effects").await, 3);
}

#[tokio::test]
async fn what_is_known_of_a_key_can_be_asked_without_a_command() {
    let kit = kit("keys_known").await;
    let ask = async |key| known(&kit.store, &key).await.unwrap();
    assert_eq!(ask(key("k")).await, None);
    assert_eq!(kit.number("SELECT count(*) FROM idempotency_keys").await, 0, "nothing was begun");
    assert_eq!(run(&kit, key("k"), "first").await, Begun::New);
    assert_eq!(ask(key("k")).await, Some(Begun::Replay(answer("first"))));
    assert_eq!(ask(IdempotencyKey { fingerprint: &[8; 32], ..key("k") }).await, Some(Begun::Reused));
    assert_eq!(ask(IdempotencyKey { subject: "bob", ..key("k") }).await, None);
    // It waits for no command that is under way.
    let mut holder = kit.pool.begin().await.unwrap();
    let held = "INSERT INTO idempotency_keys (subject, key, fingerprint) VALUES ('alice', 'held', '')";
    sqlx::raw_sql(held).execute(&mut *holder).await.unwrap();
    assert_eq!(ask(key("held")).await, None);
}

#[tokio::test]
async fn a_command_that_failed_leaves_no_key() {
    let kit = kit("keys_failed").await;
    let failing = Command { fails: true, ..Command::new(key("k"), "first") };
    assert_eq!(kit.store.transact(WAIT, &failing).await.unwrap_err().reason, "on purpose");
    assert_eq!(run(&kit, key("k"), "second").await, Begun::New);
    assert_eq!(run(&kit, key("k"), "third").await, Begun::Replay(answer("second")));
    assert_eq!(kit.number("SELECT count(*) FROM effects").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_one_does_it_and_all_others_get_its_answer() {
    let kit = kit("keys_race").await;
    for round in 0..5 {
        let name: &'static str = format!("k-{round}").leak();
        let tasks: Vec<_> = (0..8)
            .map(|n| {
                let store = kit.store.clone();
                let pause = Duration::from_millis(20);
                let command = Command { pause, ..Command::new(key(name), &format!("{round}-{n}")) };
                tokio::spawn(async move { store.transact(WAIT, &command).await.unwrap() })
            })
            .collect();
        let mut all = Vec::new();
        for task in tasks {
            all.push(task.await.unwrap());
        }
        let stored: String = sqlx::query_scalar("SELECT body FROM idempotency_keys WHERE key = $1")
            .bind(name)
            .fetch_one(&kit.pool)
            .await
            .unwrap();
        assert_eq!(all.iter().filter(|one| **one == Begun::New).count(), 1, "{all:?}");
        assert_eq!(all.iter().filter(|one| **one == Begun::Replay(answer(&stored))).count(), 7, "{all:?}");
    }
    assert_eq!(kit.number("SELECT count(*) FROM effects").await, 5);
}

/// With the default timeout of the database.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_does_not_wait_for_ever_and_does_nothing_then() {
    let kit = kit("keys_held").await;
    let mut holder = kit.pool.begin().await.unwrap();
    let held = "INSERT INTO idempotency_keys (subject, key, fingerprint) VALUES ('alice', 'k', '')";
    sqlx::raw_sql(held).execute(&mut *holder).await.unwrap();
    let from = Instant::now();
    assert_eq!(run(&kit, key("k"), "second").await, Begun::InProgress);
    assert!(from.elapsed() > Duration::from_secs(3), "{:?}", from.elapsed());
    holder.rollback().await.unwrap();
    assert_eq!(kit.number("SELECT count(*) FROM effects").await, 0);
    assert_eq!(run(&kit, key("k"), "third").await, Begun::New);
}

/// A client that gave up, a process that was killed: the connection ends, and its key with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_cut_off_leaves_no_key() {
    let kit = kit("keys_cut").await;
    let command = std::sync::Arc::new(Command { pause: Duration::from_secs(60), ..Command::new(key("k"), "first") });
    let (store, running) = (kit.store.clone(), command.clone());
    let task = tokio::spawn(async move { store.transact(WAIT, &*running).await });
    command.has_begun.notified().await;
    task.abort();
    eventually("the key is free", async || {
        matches!(kit.store.transact(WAIT, &Command::new(key("k"), "second")).await, Ok(Begun::New))
    })
    .await;
    assert_eq!(run(&kit, key("k"), "third").await, Begun::Replay(answer("second")));
}

#[tokio::test]
async fn an_answer_is_given_once_and_only_to_a_key_that_was_begun() {
    struct Unbegun;
    impl Work for Unbegun {
        type Output = ();
        async fn run(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
            finish(tx, &key("k"), &answer("x")).await
        }
    }
    let kit = kit("keys_unbegun").await;
    assert_eq!(kit.store.transact(WAIT, &Unbegun).await.unwrap_err().class, Class::Failed);
    assert_eq!(run(&kit, key("k"), "first").await, Begun::New);
    assert_eq!(kit.store.transact(WAIT, &Unbegun).await.unwrap_err().class, Class::Failed);
    assert_eq!(run(&kit, key("k"), "second").await, Begun::Replay(answer("first")));
}

#[tokio::test]
async fn keys_go_after_their_retention_in_pieces() {
    let kit = kit("keys_expire").await;
    for name in ["a", "b", "c", "d"] {
        run(&kit, key(name), name).await;
    }
    kit.sql("UPDATE idempotency_keys SET created_at = now() - interval '7 days 1 second' WHERE key <> 'd'").await;
    let week = Duration::from_secs(7 * 24 * 3600);
    for expected in [2, 1, 0] {
        assert_eq!(expire_keys(&kit.store, week, 2).await.unwrap(), Some(expected));
    }
    assert_eq!(run(&kit, key("d"), "again").await, Begun::Replay(answer("d")));
    assert_eq!(run(&kit, key("a"), "again").await, Begun::New);
    let mut other = kit.pool.begin().await.unwrap();
    let turn = "SELECT pg_advisory_xact_lock(hashtextextended('idempotency_keys.expire', 0))";
    sqlx::raw_sql(turn).execute(&mut *other).await.unwrap();
    assert_eq!(expire_keys(&kit.store, week, 2).await.unwrap(), None, "another worker is doing it");
}
