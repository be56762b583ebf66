//! Tests of the rules, on crates that break each of them.

use std::collections::BTreeMap;

use super::rules;
use super::source::{Crate, Order};

static ORDERS: [Order; 2] = [
    Order { folder: "shared", backbone: &[&["store"], &["cache"]], top: &[] },
    Order { folder: "a-service", backbone: &[&["http"], &["ingest"]], top: &[&["domains"], &["main"]] },
];

/// Crates that break no rule: one file per line, with `⏎` for a line feed.
const SOUND: &str = r#"
shared/src/lib.rs: pub mod cache; pub mod devices; pub mod store;
shared/src/store.rs: mod session; pub use session::Tx; const LOCK: &str = "LOCK TABLE t"; fn f(_: cache) {}
shared/src/store/session.rs: use super::Store; pub struct Tx;
shared/src/cache.rs: use crate::store::Tx; const LUA: &str = "return redis.call('GET', KEYS[1])";
shared/src/devices.rs: //! [`ads`](crate::ads)⏎pub mod queries; use crate::{cache, store::Tx};
shared/src/devices/queries.rs: fn f() { sqlx::query("SELECT 1"); }
shared/src/ads.rs:
a-service/src/lib.rs: pub mod domains; pub mod http; pub mod ingest; pub mod devices;
a-service/src/http.rs: use shared::store; use http::Request; #[cfg(test)] mod tests { use crate::devices; }
a-service/src/ingest.rs: mod tests; pub(in crate::devices) fn f() { crate::http::f("SELECT") }
a-service/src/devices.rs: use crate::ingest::f; use shared::devices::queries;
a-service/src/ads.rs: use shared::ads;
a-service/src/domains.rs: use crate::{ads, devices};
a-service/src/main.rs: use a_service::domains; use a_service::devices;
"#;

/// Additional or replacing files, and the expected violations (`!`). `#` is a comment.
const BROKEN: &str = r##"
a-service/src/new.rs: use crate::ingest;
! a-service/src/new has no place in the order, and is no domain of another crate

# A backbone names a domain: by an import, in a macro, by a name that somebody hands on, by a variable.
shared/src/cache.rs: ⏎use crate::devices::Event;
! shared/src/cache.rs:2: shared::cache names the domain devices
! shared/src/cache.rs:2: shared::cache uses shared::devices, which does not stand below it
! a circle in shared: cache uses devices (shared/src/cache.rs:2), devices uses cache (shared/src/devices.rs:2)

a-service/src/http.rs: macro_rules! m { () => {⏎ $crate::ads::f() } }
! a-service/src/http.rs:2: a_service::http names the domain ads
! a-service/src/http.rs:2: a_service::http uses a_service::ads, which does not stand below it

a-service/src/domains.rs: use crate::devices::It as One;
a-service/src/ingest.rs: use crate::domains::One;
! a-service/src/ingest.rs:1: a_service::ingest names the domain devices
! a-service/src/ingest.rs:1: a_service::ingest uses a_service::devices, which does not stand below it
! a circle in a_service: devices uses ingest (a-service/src/devices.rs:1), ingest uses devices (a-service/src/ingest.rs:1)

a-service/src/http.rs: use shared::devices;
! a-service/src/http.rs:1: a_service::http names the domain devices

a-service/src/http.rs: fn f(ads: u8) {}
! a-service/src/http.rs:1: a_service::http names the domain ads

a-service/src/http.rs: struct DeviceId; const A: &str = "/x/device_id";⏎const DEVICES_TOPIC: u8 = 0; // devices
! a-service/src/http.rs:1: a_service::http names the domain devices
! a-service/src/http.rs:2: a_service::http names the domain devices

a-service/src/http.rs: #[serde(with = "crate::it")] struct A;
! a-service/src/http.rs:1: a_service::http uses a_service, which does not stand below it

a-service/src/ads.rs: extern crate shared as s; fn f() { s::devices::queries::f() }
! a-service/src/ads.rs:1: a_service::ads uses shared::devices::queries, which does not stand below it

a-service/src/http.rs: #[path = "other.rs"] mod it;
! a-service/src/http.rs:1: #[path]

# What is compiled without `test` too, and what stands behind something that is not.
a-service/src/http.rs: #[cfg(any(test, feature = "x"))] mod a { fn f(ads: u8) {} }⏎#[cfg(feature = "latest")] fn f(ads: u8) {}
! a-service/src/http.rs:1: a_service::http::a names the domain ads
! a-service/src/http.rs:2: a_service::http names the domain ads

a-service/src/http.rs: #[cfg(not(any(test, unix)))] fn f(ads: u8) {}⏎#[cfg(all(test, unix))] fn g(devices: u8) {}
! a-service/src/http.rs:1: a_service::http names the domain ads

a-service/src/http.rs: struct A { #[cfg(test)] pub(crate) devices: M<u8, u8>,⏎ ads: u8 }
! a-service/src/http.rs:2: a_service::http names the domain ads

# An arrow back up: of modules, of code behind `super`, of a group; and to the root, where all begins.
a-service/src/http.rs: use crate::{⏎  ingest::{self, f as g}⏎};
! a-service/src/http.rs:2: a_service::http uses a_service::ingest, which does not stand below it
! a circle in a_service: http uses ingest (a-service/src/http.rs:2), ingest uses http (a-service/src/ingest.rs:1)

shared/src/store/session.rs: fn f() { super::super::cache::g() }⏎fn g() { self::super::super::cache::g() }
shared/src/cache.rs:
! shared/src/store/session.rs:1: shared::store::session uses shared::cache, which does not stand below it
! shared/src/store/session.rs:2: shared::store::session uses shared::cache, which does not stand below it

a-service/src/ingest.rs: #[macro_export] macro_rules! m { () => {} }
a-service/src/http.rs: use crate::m;
! a-service/src/http.rs:1: a_service::http uses a_service::ingest, which does not stand below it

a-service/src/http.rs: use crate::Root;
! a-service/src/http.rs:1: a_service::http uses a_service, which does not stand below it

# Sideways between domains: within a crate, and of another one.
a-service/src/ads.rs: use crate::devices::X;
! a-service/src/ads.rs:1: a_service::ads uses a_service::devices, which does not stand below it

a-service/src/ads.rs: fn f() { shared::devices::queries::f() }
! a-service/src/ads.rs:1: a_service::ads uses shared::devices::queries, which does not stand below it

# Circles: of two, of three, through what a parent hands on, and of a module that is written out within a file.
shared/src/store/a.rs: use super::b::B;
shared/src/store/b.rs: ⏎use crate::store::a::A;
! a circle in shared::store: a uses b (shared/src/store/a.rs:1), b uses a (shared/src/store/b.rs:2)

shared/src/store/a.rs: use super::b::B;
shared/src/store/b.rs: use super::c;
shared/src/store/c/d.rs: use crate::store::a;
shared/src/store/c.rs:
! a circle in shared::store: a uses b (shared/src/store/a.rs:1), b uses c (shared/src/store/b.rs:1), c uses a (shared/src/store/c/d.rs:1)

shared/src/store.rs: mod a; mod b; pub use self::a::A; pub use b::*;
shared/src/store/a.rs: use super::B; fn f(_: super::g) {}
shared/src/store/b.rs: use super::A as Other; mod c { } pub use self::c::B;
! a circle in shared::store: a uses b (shared/src/store/a.rs:1), b uses a (shared/src/store/b.rs:1)

shared/src/store.rs: mod a { use super::b::B; }⏎mod b { use super::a::A; }
shared/src/store/session.rs:
! a circle in shared::store: a uses b (shared/src/store.rs:1), b uses a (shared/src/store.rs:2)

# SQL and Lua.
a-service/src/http.rs: const A: &str =⏎ "SELECT a FROM b";
! a-service/src/http.rs:2: SQL

shared/src/devices.rs: fn f() { sqlx::query_as(x) }
! shared/src/devices.rs:1: SQL

a-service/src/devices.rs: const A: &str = r#"⏎  SET LOCAL x = 0"#;
! a-service/src/devices.rs:1: SQL

a-service/src/http.rs: const A: &str = "select a from b"; const L: &str = "create table b (a int)";⏎const B: &str = "SET x = 1";⏎const C: &str = "NOTIFY x";⏎const D: &str = " WHERE a = 1";⏎const E: &str = include_str!("x.sql");⏎const F: &str = "update it, where it is"; const G: &str = "set x";
! a-service/src/http.rs:1: SQL
! a-service/src/http.rs:1: SQL
! a-service/src/http.rs:2: SQL
! a-service/src/http.rs:3: SQL
! a-service/src/http.rs:4: SQL
! a-service/src/http.rs:5: SQL

a-service/src/http.rs: use sqlx as db;⏎fn f() { sqlx::QueryBuilder::new() }
! a-service/src/http.rs:1: SQL
! a-service/src/http.rs:2: SQL

shared/src/store.rs: const A: &str = "return redis.call('GET')";⏎const B: &str = "redis.pcall('GET')";⏎fn f() { cmd("EVAL") }
! shared/src/store.rs:1: Lua
! shared/src/store.rs:2: Lua
! shared/src/store.rs:3: Lua

shared/src/store.rs: fn f() { redis::Script::new(A) }
! shared/src/store.rs:1: Lua
"##;

/// The violations after adding these files to the sound crates, or replacing files there.
fn broken(more: &str) -> Vec<String> {
    let file = |line: &str| line.split_once(':').map(|(file, text)| (file.to_owned(), text.trim().replace('⏎', "\n")));
    // Later files replace earlier ones.
    let files: BTreeMap<_, _> = SOUND.lines().chain(more.lines()).filter_map(file).collect();
    let of = |order: &'static Order| {
        let own = files.iter().filter(|(file, _)| file.split('/').next() == Some(order.folder));
        Crate::of(order, own.map(|(file, text)| (file.clone(), text.clone())))
    };
    rules::broken(&ORDERS.iter().map(of).collect::<Vec<_>>())
}

#[test]
fn what_is_sound_breaks_no_rule() {
    assert_eq!(broken(""), [""; 0]);
}

#[test]
fn each_break_of_a_rule_is_told_with_its_file_and_line() {
    for case in BROKEN.split("\n\n") {
        let lines = case.lines().filter(|line| !line.starts_with('#'));
        let (expected, files): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with('!'));
        let expected: Vec<_> = expected.iter().map(|line| line.trim_start_matches("! ")).collect();
        assert!(!expected.is_empty(), "{case}");
        assert_eq!(broken(&files.join("\n")), expected, "{case}");
    }
}

#[test]
fn long_files_are_told() {
    let files = [("a/src/b.rs", 400), ("a/tests/c.rs", 401), ("a-service/src/main.rs", 60), ("a/src/main.rs", 60)];
    let files = files.map(|(file, lines)| (file.to_owned(), lines));
    let expected = ["a/tests/c.rs: 401 lines, and 400 at most", "a-service/src/main.rs: 60 lines, and 59 at most"];
    assert_eq!(rules::files_are_short(&files), expected);
}
