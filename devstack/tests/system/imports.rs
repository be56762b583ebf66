//! The layout of `shared` and the two services: a backbone that names no domain, and domains on top of it.

mod distributed;
mod rules;
mod samples;
mod source;

use self::source::{Crate, Order};
use crate::dev::workspace;
use crate::documents::listed;

/// The parts of each crate, lowest first. Any other part that `shared` and a service have is a domain, so a new domain
/// needs no line here.
static ORDERS: [Order; 3] = [
    Order { folder: "shared", backbone: &[&["runtime"], &["kafka"], &["client"], &["store"], &["cache"]], top: &[] },
    Order {
        folder: "api-service",
        backbone: &[&["http"], &["auth"], &["ingest", "cached"], &["backbone"]],
        top: &[&["domains"], &["config"], &["app"], &["main"]],
    },
    Order {
        folder: "worker-service",
        backbone: &[&["scheduler"], &["observe"], &["source"], &["dead_letters"], &["consumer"], &["outbox"]],
        top: &[&["domains"], &["config"], &["worker"], &["command"], &["main"]],
    },
];

fn assert_none(broken: Vec<String>) {
    assert!(broken.is_empty(), "{} breaks of the rule:\n{}", broken.len(), broken.join("\n"));
}

/// The source files of this pattern with their texts, including uncommitted ones.
fn sources(pattern: &str) -> impl Iterator<Item = (String, String)> {
    let files = listed(&["--cached", "--others", "--exclude-standard", pattern]);
    // git also lists a file whose deletion is not yet committed.
    files.into_iter().filter_map(|file| {
        let text = std::fs::read_to_string(workspace().join(&file)).ok()?;
        Some((file, text))
    })
}

fn crates() -> Vec<Crate> {
    ORDERS.iter().map(|order| Crate::of(order, sources(&format!("{}/src/*.rs", order.folder)))).collect()
}

#[test]
fn each_statement_on_a_distributed_table_names_its_column() {
    let (broken, sound) = distributed::broken(&crates());
    assert!(sound > 10, "only {sound} statements");
    assert_none(broken);
}

#[test]
fn the_crates_keep_to_their_layout() {
    let crates = crates();
    assert!(crates.iter().all(|one| one.modules.len() > 20), "these are not all modules");
    assert_none(rules::broken(&crates));
}

#[test]
fn files_are_short() {
    let files: Vec<_> = sources("*.rs").map(|(file, text)| (file, text.lines().count())).collect();
    assert!(files.len() > 300, "only {} files", files.len());
    assert_none(rules::files_are_short(&files));
}
