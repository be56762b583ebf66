//! Payloads that are taken, and payloads that are refused.

use super::*;
use proptest::prelude::*;

fn faults(json: &str) -> Vec<(String, String)> {
    serde_json::from_str::<&serde_json::value::RawValue>(json).expect("the test's text is JSON");
    match Payload::check(Bytes::copy_from_slice(json.as_bytes()), "/payload") {
        Ok(payload) => {
            assert_eq!(payload.as_str(), json);
            Vec::new()
        }
        Err(faults) => faults.into_iter().map(|f| (f.pointer, f.detail)).collect(),
    }
}

#[test]
fn refusals() {
    let nested = |depth: usize| format!("{}{}", r#"{"a":"#.repeat(depth - 1) + "{}", "}".repeat(depth - 1));
    let long = |digits: usize| format!(r#"{{"n":{}}}"#, "9".repeat(digits));
    let zeros = |n: usize| format!(r#"{{"n":0.{}1}}"#, "0".repeat(n - 1));
    let no_one = |n: usize| format!(r#"{{"n":-0.{}}}"#, "0".repeat(n));
    let many = |n: usize, number: &str| format!(r#"{{"n":[{}]}}"#, vec![number; n].join(","));
    let big = |bytes: usize| format!(r#"{{"s":"{}"}}"#, "x".repeat(bytes - 8));
    let good = [
        "{}".to_owned(),
        r#"{"a":[1,-2.5,1e308,1E-308,0.1,true,null,"\ud83d\ude00 \n"],"b":{"a":1}}"#.to_owned(),
        r#"{"a":[5e-324,1e-310,-4.9406564584124654E-324,2.2250738585072014e-308,1.7976931348623157e+308]}"#.to_owned(),
        // Zero as a double.
        r#"{"a":[1e-400,0e400,-0.0e-400]}"#.to_owned(),
        // As PostgreSQL writes 1e308.
        format!(r#"{{"a":1{}}}"#, "0".repeat(308)),
        nested(64),
        long(64),
        zeros(MAX_NUMBER - 2),
        no_one(MAX_NUMBER - 3),
        many(1000, "1e300"),
        big(MAX_BYTES),
    ];
    for json in &good {
        assert_eq!(faults(json), [], "{}", crate::runtime::json::shown(json));
    }
    let bad = [
        ("[]", "/payload", "must be a JSON object"),
        ("7", "/payload", "must be a JSON object"),
        (r#"{"a":"\u0000"}"#, "/payload/a", "contains \\u0000"),
        (r#"{"\u0000":1}"#, "/payload", "has a key that contains \\u0000"),
        (r#"{"a":1,"\u0000":2}"#, "/payload", "has a key that contains \\u0000"),
        (r#"{"a":{"b":1,"\ud800":2}}"#, "/payload/a", "has a key that contains a lone surrogate"),
        (r#"{"a":[{"b":1},{"c":1,"\udc00":2}]}"#, "/payload/a/1", "has a key that contains a lone surrogate"),
        (r#"{"a":["\ud800"]}"#, "/payload/a/0", "contains a lone surrogate"),
        (r#"{"a":["x","\udc00"]}"#, "/payload/a/1", "contains a lone surrogate"),
        (r#"{"a":1,"a":2}"#, "/payload", "has the key \"a\" more than once"),
        (r#"{"a":1,"\u0061":2}"#, "/payload", "has the key \"a\" more than once"),
        (r#"{"x":{"b":1,"b":2}}"#, "/payload/x", "has the key \"b\" more than once"),
        (r#"{"a/b~c":1e309}"#, "/payload/a~1b~0c", "is not finite as an IEEE 754 double"),
        (r#"{"a":1e-401}"#, "/payload/a", "has an exponent beyond 400"),
        (r#"{"a":1e99999999999999999999}"#, "/payload/a", "has an exponent beyond 400"),
        (r#"{"a":9e308}"#, "/payload/a", "is not finite as an IEEE 754 double"),
        (&zeros(MAX_NUMBER - 1), "/payload/n", "has more than 512 characters"),
        (&zeros(16_400), "/payload/n", "has more than 512 characters"),
        (&no_one(16_400), "/payload/n", "has more than 512 characters"),
        (&long(65), "/payload/n", "has more than 64 significant digits"),
        (&nested(65), "", "is nested more than 64 deep"),
        (&many(2000, "1e300"), "/payload", "is larger than 524288 bytes with its numbers written out"),
        (&big(MAX_BYTES + 1), "/payload", "is larger than 262144 bytes"),
    ];
    for (json, pointer, detail) in bad {
        let found = faults(json);
        assert_eq!(found.len(), 1, "{}: {found:?}", crate::runtime::json::shown(json));
        assert_eq!(found[0].1, detail);
        if !pointer.is_empty() {
            assert_eq!(found[0].0, pointer);
        }
    }
}

#[test]
fn every_fault_is_found_at_once() {
    let found = faults(r#"{"a":"\u0000","b":{"c":1,"c":1e999}}"#);
    let pointers: Vec<_> = found.iter().map(|(p, _)| p.as_str()).collect();
    assert_eq!(pointers, ["/payload/a", "/payload/b/c", "/payload/b"]);
}

#[test]
fn what_is_not_told_is_counted() {
    let found = faults(&format!(r#"{{"a":[{}]}}"#, vec![r#""\u0000""#; 1000].join(",")));
    assert_eq!(found.len(), 21);
    assert_eq!(found[19].0, "/payload/a/19");
    assert_eq!(found[20], ("/payload".to_owned(), "has 980 more faults".to_owned()));
}

#[test]
fn a_pointer_is_never_cut() {
    let key = "k".repeat(1000);
    let found = faults(&format!(r#"{{"a":{{"{key}":{{"b":"\u0000"}}}}}}"#));
    assert_eq!(found, [("/payload/a".into(), "has something deeper in it that contains \\u0000".into())]);
    // Keys of 250 bytes, 60 deep, around many faults. Without the limit, 25 KB caused a response of 480 KB.
    let deep = format!(r#"{{"{}":"#, "k".repeat(250)).repeat(60);
    let found = faults(&format!("{deep}[{}]{}", vec![r#""\u0000""#; 1000].join(","), "}".repeat(60)));
    let told: usize = found.iter().map(|(pointer, detail)| pointer.len() + detail.len()).sum();
    assert!(told < 10_000, "{told}");
}

#[test]
fn a_hundred_thousand_nested_arrays_are_one_fault() {
    assert_eq!(faults(&format!(r#"{{"a":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000))).len(), 1);
}

fn finite() -> impl Strategy<Value = f64> {
    use prop::num::f64::{NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
    prop_oneof![POSITIVE | NEGATIVE | NORMAL | SUBNORMAL | ZERO, Just(f64::MAX), Just(f64::from_bits(1))]
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        finite().prop_map(Into::<serde_json::Value>::into),
        "[^\0]{0,12}".prop_map(Into::into),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
            prop::collection::hash_map("[^\0]{0,6}", inner, 0..12)
                .prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_serde_writes_is_taken(fields in prop::collection::hash_map("[^\0]{0,6}", json(), 0..12), pretty: bool) {
        let value = serde_json::Value::Object(fields.into_iter().collect());
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        prop_assert_eq!(faults(&text), []);
    }

    /// In the ways in which JSON libraries print doubles: the shortest form, 17 digits, with or without an exponent.
    #[test]
    fn every_finite_double_is_taken(number in finite()) {
        let shortest = format!("{number:e}");
        let plus = shortest.replace('e', "e+").replace("e+-", "e-");
        let digits = format!("{number:.16e}");
        for text in [&plus, &shortest.to_uppercase(), &digits, &format!("{number}"), &format!("{number:?}"), &shortest] {
            prop_assert_eq!(faults(&format!(r#"{{"n":{text}}}"#)), [], "{}", text);
        }
    }
}
