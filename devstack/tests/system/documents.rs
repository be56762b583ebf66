//! What the documents say is so: the settings, the decisions and who refers to them, and the files of CONTRIBUTING.md.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::dev::workspace;

#[test]
fn the_page_of_settings_is_what_the_services_say() {
    let (file, expected) = devstack::settings_page::renewed().unwrap();
    assert!(fs::read_to_string(file).unwrap() == expected, "`make settings` writes docs/settings.md anew");
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

/// A path that begins with one of the workspace's folders is one of this repository's.
#[test]
fn the_files_that_contributing_names_are_there() {
    let text = fs::read_to_string(workspace().join("CONTRIBUTING.md")).unwrap();
    let paths = text.split('`').skip(1).step_by(2).filter(|code| {
        let is_path = code.contains('/') && !code.contains(|c: char| c.is_whitespace() || "…*{$".contains(c));
        is_path && code.split('/').next().is_some_and(|first| first != "target" && workspace().join(first).exists())
    });
    let missing: Vec<_> = paths.clone().filter(|path| !workspace().join(path).exists()).collect();
    assert!(paths.count() > 30 && missing.is_empty(), "CONTRIBUTING.md names what is not there: {missing:?}");
}

/// What follows a mark in a text, each time.
fn behind<'a>(text: &'a str, mark: &str) -> impl Iterator<Item = &'a str> {
    text.split(mark).skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !"-.".contains(c)).unwrap_or(rest.len());
        rest[..end].trim_end_matches('.')
    })
}

#[test]
fn who_refers_to_a_decision_finds_it() {
    let (known, mut found) = (decisions(), 0);
    let tracked = Command::new("git").args(["ls-files", "-z"]).current_dir(workspace()).output().unwrap();
    assert!(tracked.status.success(), "{}", String::from_utf8_lossy(&tracked.stderr));
    for file in String::from_utf8(tracked.stdout).unwrap().split_terminator('\0') {
        let Ok(text) = fs::read_to_string(workspace().join(file)) else { continue };
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
