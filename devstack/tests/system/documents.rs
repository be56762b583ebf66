//! The documents are correct: settings, decisions and references to them, links, and names of files and tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use crate::dev::workspace;

#[test]
fn the_page_of_settings_is_what_the_services_say() {
    let (file, expected) = devstack::settings_page::renewed().unwrap();
    assert!(fs::read_to_string(file).unwrap() == expected, "`make settings` rewrites docs/settings.md");
}

#[test]
fn the_page_of_events_is_what_the_domains_say() {
    let worker = devstack::binaries().unwrap().join("worker-service");
    let printed = Command::new(worker).arg("events").env_clear().output().unwrap();
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    let page = fs::read(workspace().join("docs/events.md")).unwrap();
    assert!(page == printed.stdout, "`make events` rewrites docs/events.md");
}

/// The names of the decisions: `0001-a-queue-for-each-partition.md`.
fn decisions() -> BTreeSet<String> {
    let files = fs::read_dir(workspace().join("docs/adr")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != "README.md").collect()
}

#[test]
fn decisions_are_numbered_without_gaps_and_each_is_in_the_index() {
    let index = fs::read_to_string(workspace().join("docs/adr/README.md")).unwrap();
    let mut lines = index.lines().filter(|line| line.starts_with("| ["));
    for (number, name) in (1..).zip(decisions()) {
        assert!(name.starts_with(&format!("{number:04}-")), "docs/adr/{name} should have the number {number}");
        let text = fs::read_to_string(workspace().join("docs/adr").join(&name)).unwrap();
        let title = text.lines().next().unwrap().strip_prefix(&format!("# {number}. "));
        let title = title.unwrap_or_else(|| panic!("docs/adr/{name} does not begin with `# {number}. `"));
        let line = lines.next().unwrap_or_default();
        assert_eq!(line, format!("| [{number}]({name}) | {title} |"), "docs/adr/README.md");
    }
    assert_eq!(lines.next(), None, "docs/adr/README.md has a line too many");
}

fn tracked() -> BTreeSet<String> {
    listed(&[])
}

/// The files that git lists.
pub(crate) fn listed(args: &[&str]) -> BTreeSet<String> {
    let listed = Command::new("git").args(["ls-files", "-z"]).args(args).current_dir(workspace()).output().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    String::from_utf8(listed.stdout).unwrap().split_terminator('\0').map(str::to_owned).collect()
}

/// Every document with its text, without blocks of code.
fn documents() -> Vec<(String, String)> {
    let files = tracked().into_iter().filter(|file| file.ends_with(".md"));
    let text = |file: &str| fs::read_to_string(workspace().join(file)).unwrap().split("\n```").step_by(2).collect();
    files.map(|file| (file.clone(), text(&file))).collect()
}

/// The code spans of a text.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// A path that begins with one of the workspace's folders exists. The bare name of a source file (`frozen.rs`) is the
/// end of an existing path.
#[test]
fn the_files_that_the_documents_name_are_there() {
    let (files, mut found, mut missing) = (tracked(), 0, Vec::new());
    for (document, text) in documents() {
        let names = quoted(&text).filter(|code| !code.contains(|c: char| c.is_whitespace() || "…*{$<".contains(c)));
        for name in names {
            let folder = name.split_once('/').map(|(first, _)| first);
            let is_path =
                folder.is_some_and(|first| !["", "target"].contains(&first) && workspace().join(first).is_dir());
            let is_there = if is_path {
                workspace().join(name).exists()
            } else if name.ends_with(".rs") {
                files.iter().any(|file| file == name || file.ends_with(&format!("/{name}")))
            } else {
                continue;
            };
            found += 1;
            if !is_there {
                missing.push(format!("{document}: {name}"));
            }
        }
    }
    assert!(found > 200 && missing.is_empty(), "of {found} files these are not there: {missing:#?}");
}

/// A name of many words is the name of a test.
#[test]
fn the_tests_that_the_architecture_names_are_there() {
    let text = fs::read_to_string(workspace().join("docs/architecture.md")).unwrap();
    let is_name = |text: &&str| text.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase());
    let names: BTreeSet<_> = quoted(&text).filter(is_name).filter(|name| name.matches('_').count() > 3).collect();
    let sources = tracked().into_iter().filter(|file| file.ends_with(".rs"));
    let sources: String = sources.filter_map(|file| fs::read_to_string(workspace().join(file)).ok()).collect();
    let missing: Vec<_> = names.iter().filter(|name| !sources.contains(&format!("fn {name}("))).collect();
    assert!(names.len() > 15 && missing.is_empty(), "docs/architecture.md names tests that are not there: {missing:?}");
}

/// The anchor that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn links_between_documents_lead_somewhere() {
    let documents: BTreeMap<_, _> = documents().into_iter().collect();
    let (root, mut found, mut broken) = (workspace().canonicalize().unwrap(), 0, Vec::new());
    for (document, text) in &documents {
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains("://")) {
            found += 1;
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let file = root.join(document);
            let to = if path.is_empty() { file } else { file.parent().unwrap().join(path) };
            let has_heading = |text: &String| {
                let headings = text.lines().filter(|line| line.starts_with('#'));
                headings.map(|line| anchor(line.trim_start_matches('#'))).any(|there| there == heading)
            };
            let is_there = to.canonicalize().is_ok_and(|to| {
                let text = to.strip_prefix(&root).ok().and_then(|to| documents.get(to.to_str()?));
                heading.is_empty() || text.is_some_and(has_heading)
            });
            if !is_there {
                broken.push(format!("{document}: {link}"));
            }
        }
    }
    assert!(found > 150 && broken.is_empty(), "of {found} links these lead nowhere: {broken:#?}");
}

/// The text after each occurrence of a mark.
fn behind<'a>(text: &'a str, mark: &str) -> impl Iterator<Item = &'a str> {
    text.split(mark).skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !"-.".contains(c)).unwrap_or(rest.len());
        rest[..end].trim_end_matches('.')
    })
}

#[test]
fn who_refers_to_a_decision_finds_it() {
    let (known, mut found) = (decisions(), 0);
    for file in tracked() {
        let Ok(text) = fs::read_to_string(workspace().join(&file)) else { continue };
        let marks = if file.starts_with("docs/adr/") { [concat!("ad", "r/"), "]("] } else { [concat!("ad", "r/"); 2] };
        for name in marks.iter().flat_map(|mark| behind(&text, mark)) {
            let is_number = name.len() >= 4 && name[..4].bytes().all(|digit| digit.is_ascii_digit());
            if is_number {
                found += 1;
                let exists = known.contains(name) || known.iter().any(|known| known[..4] == *name);
                assert!(exists, "{file} refers to docs/adr/{name}, which is not there");
            }
        }
    }
    assert!(found > 30, "only {found} references were found");
}
