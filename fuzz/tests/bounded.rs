//! The fuzz targets over their corpora and over mutations of them: short enough for a test run, and the same
//! each time. `make fuzz` continues from there.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests may fail loudly")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::LazyLock;

use devstack::Scope;
use fastrand::Rng;
use fuzz::TARGETS;
use sqlx::{Connection, PgConnection};

/// The number of mutated inputs per target.
const CASES: usize = 10_000;
const SEED: u64 = 7;

static WORDS: LazyLock<Vec<&str>> = LazyLock::new(|| {
    "\"~\\~\\u0000~\\ud800~\\udc00~\\u0061~{~}~[~]~:~,~null~true~-~0~9~1e308~1e309~1E-400~1e-401~5e-324~\
     99999999999999999999~.5~ ~\n~\r\n~\0~\u{e9}~\u{1f600}~%00~%~.~..~/../~/~@~#~eyJ~=~device_id~payload~event_id~\
     occurred_at~ce_~key: ~\"data\":~9999-12-31T23:59:59-23:59~0000-01-01T00:00:00Z~HS256"
        .split('~')
        .collect()
});

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 5, "there is no corpus for {target}");
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// An input, mutated in a few places.
fn changed(rng: &mut Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let pick = |rng: &mut Rng| corpus[rng.usize(..corpus.len())].clone();
    let mut input = pick(rng);
    for _ in 0..=rng.usize(..4) {
        let at = rng.usize(..=input.len());
        let end = at + rng.usize(..=(input.len() - at).min(16));
        match rng.u8(..8) {
            0 => input.truncate(at),
            1 => drop(input.drain(at..end)),
            2 if at < input.len() => input[at] ^= 1 << rng.u8(..8),
            3 if at < input.len() => input[at] = rng.u8(..),
            4 => {
                let part = input[at..end].repeat(rng.usize(1..4));
                input.splice(at..at, part);
            }
            5 => {
                let other = pick(rng);
                let from = rng.usize(..=other.len());
                input.splice(at..end, other[from..].iter().copied());
            }
            _ => {
                let word = WORDS[rng.usize(..WORDS.len())];
                input.splice(at..end, word.bytes());
            }
        }
    }
    input
}

fn run(name: &str) {
    let (_, target) = TARGETS.into_iter().find(|(known, _)| *known == name).unwrap();
    let corpus = corpus(name);
    let mut rng = Rng::with_seed(SEED);
    let cases = (0..CASES).map(|_| changed(&mut rng, &corpus));
    for input in corpus.iter().cloned().chain(cases) {
        if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
            let shown = String::from_utf8_lossy(&input);
            panic!("{name} breaks on {} bytes: {shown:?}\nas they are: {input:?}", input.len());
        }
    }
}

/// One test per target, so that they run in parallel.
macro_rules! targets {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            run(stringify!($name));
        }
    )*};
}

targets!(event cloud_event token topic content);

#[test]
fn every_target_has_its_corpus_and_its_fuzzer() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names = |folder: &str, file_name: fn(&Path) -> String| {
        let mut names: Vec<_> = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))
            .unwrap()
            .map(|entry| file_name(&entry.unwrap().path()))
            .collect();
        names.sort();
        names
    };
    let stem = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
    let mut expected = TARGETS.map(|(name, _)| name.to_owned());
    expected.sort();
    assert_eq!(names("corpus", stem), expected);
    assert_eq!(names("libfuzzer/fuzz_targets", stem), expected);
    let manifest = std::fs::read_to_string(folder.join("libfuzzer/Cargo.toml")).unwrap();
    assert!(expected.iter().all(|name| manifest.contains(&format!("name = \"{name}\""))));
}

fn number(rng: &mut Rng) -> String {
    let digits = |rng: &mut Rng, most: usize| -> String { (0..rng.usize(..=most)).map(|_| rng.digit(10)).collect() };
    let zeros = match rng.u8(..4) {
        0 => rng.usize(400..520),
        1 => rng.usize(16_300..16_500),
        _ => rng.usize(..8),
    };
    let mut number = ["", "-"][rng.usize(..2)].to_owned();
    number.push_str(&format!("{}{}", rng.u8(1..10), digits(rng, 66)).repeat(usize::from(rng.bool())));
    if matches!(&*number, "" | "-") {
        number.push('0');
    }
    let fraction = "0".repeat(zeros) + &digits(rng, 66);
    if rng.bool() && !fraction.is_empty() {
        number.push_str(&format!(".{fraction}"));
    }
    if rng.bool() {
        number.push_str(&format!("{}{}{}", ["e", "E"][rng.usize(..2)], ["", "+", "-"][rng.usize(..3)], rng.u16(..410)));
    }
    number
}

/// A payload with this many copies of a number.
fn numbers(rng: &mut Rng, count: usize) -> String {
    let number = number(rng);
    format!(r#"{{"n":[{}]}}"#, vec![number; count].join(","))
}

/// At its exact limit each rule accepts, and one step beyond it refuses.
#[test]
fn limits() {
    let payload = |payload: &str| format!(r#"{{"device_id":"d","payload":{payload}}}"#);
    let accepted = |text: &str| {
        fuzz::event(payload(text).as_bytes());
        fuzz::accepted(payload(text).as_bytes()).is_some()
    };
    let string = |length: usize| format!(r#"{{"s":"{}"}}"#, "x".repeat(length - 8));
    let many = |count: usize, more: usize| {
        format!(r#"{{"n":[{}],"s":"{}"}}"#, vec!["1e300"; count].join(","), "x".repeat(more))
    };
    let deep = |levels: usize| format!("{}{}", r#"{"a":"#.repeat(levels - 1) + "{}", "}".repeat(levels - 1));
    assert_eq!([string(262_144), string(262_145)].map(|text| accepted(&text)), [true, false]);
    // 1,700 numbers of 305 bytes, and two bytes for each comma.
    assert_eq!([many(1700, 2372), many(1700, 2373)].map(|text| accepted(&text)), [true, false]);
    assert_eq!([deep(64), deep(65)].map(|text| accepted(&text)), [true, false]);
    let mut rng = Rng::with_seed(SEED);
    let numbers: Vec<bool> = (0..2000).map(|_| accepted(&numbers(&mut rng, 1))).collect();
    let good = numbers.iter().filter(|good| **good).count();
    assert!((200..1800).contains(&good), "{good} of 2000");
}

/// PostgreSQL stores every accepted payload and returns it, within the size limit.
#[tokio::test]
async fn what_is_accepted_jsonb_takes() {
    let scope = tokio::task::spawn_blocking(|| Scope::new("fuzz_jsonb").unwrap()).await.unwrap();
    let mut connection = PgConnection::connect(&scope.database_url).await.unwrap();
    let mut payloads: Vec<String> = corpus("event").iter().filter_map(|input| fuzz::accepted(input)).collect();
    let corpus: Vec<_> = payloads.iter().map(|payload| payload.clone().into_bytes()).collect();
    let mut rng = Rng::with_seed(SEED);
    for _ in 0..CASES {
        let event = [&br#"{"device_id":"d","payload":"#[..], &changed(&mut rng, &corpus), b"}"].concat();
        payloads.extend(fuzz::accepted(&event));
    }
    for nth in 0..2_100 {
        let count = if nth < 2_000 { 1 } else { rng.usize(..3000) };
        let payload = numbers(&mut rng, count);
        payloads.extend(fuzz::accepted(format!(r#"{{"device_id":"d","payload":{payload}}}"#).as_bytes()));
    }
    payloads.sort();
    payloads.dedup();
    assert!(payloads.len() > 300, "{} payloads are too few to tell anything", payloads.len());
    for some in payloads.chunks(100) {
        let stored: Vec<String> =
            sqlx::query_scalar("SELECT value::jsonb::text FROM unnest($1::text[]) AS all_of (value)")
                .bind(some)
                .fetch_all(&mut connection)
                .await
                .unwrap_or_else(|error| panic!("{error}: {some:?}"));
        for (sent, stored) in some.iter().zip(stored) {
            assert!(stored.len() <= 512 * 1024, "{} bytes became {}", sent.len(), stored.len());
            // Not as a `Value`: serde_json does not accept a double of 309 digits, which jsonb makes of 1e308.
            serde_json::from_str::<serde::de::IgnoredAny>(&stored).unwrap();
        }
    }
}
