//! The layout of `shared` and the two services holds: a backbone that names no domain, and domains on it.

mod rules;
mod samples;
mod source;

use std::process::Command;

use self::rules::{Order, Workspace};
use self::source::Crate;
use crate::dev::workspace;

/// The parts of each crate, from below. A domain is what `shared` and a service have beside them: a new one needs no line.
const ORDERS: [Order; 3] = [
    Order { folder: "shared", backbone: &[&["runtime"], &["kafka"], &["store"], &["cache"]], top: &[], registry: &[] },
    Order {
        folder: "api-service",
        backbone: &[&["http"], &["auth"], &["ingest", "cached"], &["backbone"]],
        top: &[&["domains"], &["config"], &["app"], &["main"]],
        registry: &["domains", "main"],
    },
    Order {
        folder: "worker-service",
        backbone: &[&["scheduler"], &["observe"], &["source"], &["dead_letters"], &["consumer"], &["outbox"]],
        top: &[&["domains"], &["config"], &["worker"], &["command"], &["main"]],
        registry: &["domains", "main"],
    },
];

fn all() -> Workspace<'static> {
    Workspace { crates: ORDERS.iter().map(|order| Crate::read(workspace(), order.folder)).collect(), orders: &ORDERS }
}

fn assert_none(broken: Vec<String>) {
    assert!(broken.is_empty(), "{} breaks of the rule:\n{}", broken.len(), broken.join("\n"));
}

#[test]
fn each_part_of_a_crate_has_its_place() {
    assert_none(rules::each_part_has_its_place(&all()));
}

#[test]
fn a_backbone_names_no_domain() {
    assert_none(rules::backbone_names_no_domain(&all()));
}

#[test]
fn each_part_uses_only_those_below_it_and_a_domain_no_other_one() {
    assert_none(rules::nothing_is_used_from_above_or_beside(&all()));
}

#[test]
fn modules_do_not_use_each_other_in_circles() {
    assert_none(rules::no_circles(&all()));
}

#[test]
fn sql_and_lua_are_in_their_places() {
    assert_none(rules::languages_are_in_their_places(&all()));
}

#[test]
fn files_are_short() {
    let args = ["ls-files", "-coz", "--exclude-standard", "*.rs"];
    let listed = Command::new("git").args(args).current_dir(workspace()).output().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let files = String::from_utf8(listed.stdout).unwrap();
    // One that is deleted and not yet committed is listed, too.
    let lines = |file: &str| Some(std::fs::read_to_string(workspace().join(file)).ok()?.lines().count());
    let files: Vec<_> = files.split_terminator('\0').filter_map(|file| Some((file.to_owned(), lines(file)?))).collect();
    assert!(files.len() > 300, "only {} files", files.len());
    assert_none(rules::files_are_short(&files));
}
