//! `schemas/` and what the domains say that they publish are the same.

use std::collections::BTreeSet;
use std::path::Path;

use shared::ads::AdStream;
use shared::ads::published::{OF_ADS, OF_CAMPAIGNS};
use shared::devices::DeviceStream;
use shared::kafka::schemas::Published;
use shared::kafka::{Stream as _, StreamSpec};
use shared::placements::DomainStream;
use shared::{devices, placements};

fn all() -> [&'static Published; 4] {
    [&devices::published::PUBLISHED, &OF_ADS, &OF_CAMPAIGNS, &placements::events::PUBLISHED]
}

#[test]
fn every_schema_is_published_by_one_domain() {
    let mut files = BTreeSet::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas");
    for of_type in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        for version in std::fs::read_dir(of_type).unwrap() {
            let path = version.unwrap().path();
            let type_and_version: Vec<_> = path.iter().rev().take(2).map(|part| part.to_str().unwrap()).collect();
            files.insert(format!("/schemas/{}/{}", type_and_version[1], type_and_version[0].trim_end_matches(".json")));
        }
    }
    let schemas = || all().into_iter().flat_map(|published| published.schemas);
    let published: BTreeSet<_> = schemas().map(|schema| schema.uri()).collect();
    assert_eq!(published, files);
    assert_eq!(schemas().count(), published.len(), "each by one domain");
    for schema in schemas() {
        assert_eq!(schema.open()["$id"], schema.uri(), "the text is that of its file");
    }
}

#[test]
fn the_types_of_a_stream_are_those_that_are_published_on_it() {
    let streams: [StreamSpec; 3] = [DeviceStream::SPEC, AdStream::SPEC, DomainStream::SPEC];
    for published in all() {
        assert!(streams.iter().any(|stream| stream.name == published.stream), "{published:?}");
    }
    for stream in streams {
        let on_it = all().into_iter().filter(|published| published.stream == stream.name);
        let published: BTreeSet<_> =
            on_it.flat_map(|published| published.schemas).map(|schema| schema.event_type).collect();
        assert_eq!(published, stream.types.iter().copied().collect(), "{}", stream.name);
    }
}
