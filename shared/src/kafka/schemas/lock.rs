//! `schemas/`: each file is the one that `lock.json` lists, it loads, and each version gets along with those before it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use serde_json::Value;

use super::{EventSchema, breaks};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas")
}

/// Every schema: its type, its version, and its file.
fn files() -> Vec<(String, u16, String)> {
    let mut files = Vec::new();
    for of_type in fs::read_dir(folder()).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir()) {
        let event_type = of_type.file_name().into_string().unwrap();
        for version in fs::read_dir(of_type.path()).unwrap() {
            let name = version.unwrap().file_name().into_string().unwrap();
            let number = name.strip_suffix(".json").and_then(|number| number.parse().ok());
            let number = number.unwrap_or_else(|| panic!("{event_type}/{name} is not named after a version"));
            files.push((event_type.clone(), number, fs::read_to_string(of_type.path().join(name)).unwrap()));
        }
    }
    files.sort();
    files
}

/// A schema from a file, for as long as the tests run.
fn loaded((event_type, version, text): (String, u16, String)) -> EventSchema {
    EventSchema::new(event_type.leak(), version, text.leak())
}

#[test]
fn a_version_that_is_published_never_changes() {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let hash = |text: &str| hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    let found: BTreeMap<String, String> = files()
        .iter()
        .map(|(event_type, version, text)| (format!("{event_type}/{version}.json"), hash(text)))
        .collect();
    let lock: BTreeMap<String, String> =
        serde_json::from_str(&fs::read_to_string(folder().join("lock.json")).unwrap()).unwrap();
    for (file, hash) in &lock {
        assert_eq!(found.get(file), Some(hash), "{file} changed after it was published: add a version, or a type");
    }
    for (file, hash) in &found {
        assert!(lock.contains_key(file), "schemas/lock.json lacks \"{file}\": \"{hash}\"");
    }
}

#[test]
fn every_schema_loads_and_says_where_it_is() {
    for file in files() {
        let schema = loaded(file);
        let open = schema.load().unwrap_or_else(|why| panic!("{schema:?}: {why}")).open.clone();
        assert_eq!(open["$id"], schema.uri(), "{schema:?}");
        assert_eq!(open["$schema"], "https://json-schema.org/draft/2020-12/schema", "{schema:?}");
        assert_eq!(open["type"], "object", "{schema:?}");
        assert!(open["title"].is_string(), "{schema:?}");
        assert_eq!(&open, schema.open());
    }
}

#[test]
fn the_versions_of_a_type_are_numbered_from_1_and_get_along() {
    let mut of_type: BTreeMap<String, Vec<(u16, Value)>> = BTreeMap::new();
    for (event_type, version, text) in files() {
        of_type.entry(event_type).or_default().push((version, serde_json::from_str(&text).unwrap()));
    }
    for (event_type, versions) in of_type {
        let numbers: Vec<u16> = versions.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, (1..).take(numbers.len()).collect::<Vec<_>>(), "{event_type}");
        for (place, (new, later)) in versions.iter().enumerate() {
            for (old, earlier) in &versions[..place] {
                let broken = breaks(earlier, later);
                assert!(broken.is_empty(), "{event_type}, versions {old} and {new}: {broken:?}: make it another type");
            }
        }
    }
}
