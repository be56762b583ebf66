//! The rules for the crates' imports. Each rule returns its violations, with file and line.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::source::{Crate, Module, Order, Place};

/// The parts that may name a domain.
const REGISTRY: [&str; 2] = ["domains", "main"];

impl Order {
    /// The rank of a part: the lowest parts have the lowest rank.
    fn rank(&self, part: &str) -> usize {
        let below = |lines: &[&[&str]]| lines.iter().position(|line| line.contains(&part));
        let top = || below(self.top).map(|line| self.backbone.len() + 1 + line);
        below(self.backbone).or_else(top).unwrap_or(self.backbone.len())
    }

    fn has(&self, part: &str) -> bool {
        self.backbone.iter().chain(self.top).any(|line| line.contains(&part))
    }
}

fn parts(one: &Crate) -> BTreeSet<&str> {
    let parts = one.modules.keys().map(|module| part(module));
    parts.filter(|part| !part.is_empty() && !one.order.has(part)).collect()
}

/// The domains: the parts of both `shared`, the first crate, and a service that are in no order.
fn domains(crates: &[Crate]) -> BTreeSet<&str> {
    let mut all = crates.iter().map(parts);
    let of_shared = all.next().unwrap_or_default();
    let of_services: BTreeSet<_> = all.flatten().collect();
    of_shared.intersection(&of_services).copied().collect()
}

/// The part of a crate that contains a module; empty for the root.
fn part(module: &[String]) -> &str {
    module.first().map_or("", String::as_str)
}

/// A use of one module by another.
struct Edge<'a> {
    from: &'a [String],
    at: String,
    to: Place<'a>,
}

fn edges<'a>(crates: &'a [Crate], one: &'a Crate) -> impl Iterator<Item = Edge<'a>> {
    let of_module = move |(from, module): (&'a Vec<String>, &'a Module)| {
        module.references.iter().filter_map(move |(path, line)| {
            let to = one.follow(crates, from, path, 0)?;
            Some(Edge { from, at: format!("{}:{line}", module.file), to })
        })
    };
    one.modules.iter().flat_map(of_module)
}

fn name(of: &Crate, module: &[String]) -> String {
    [std::slice::from_ref(&of.name), module].concat().join("::")
}

/// The violations of all rules below.
pub(super) fn broken(crates: &[Crate]) -> Vec<String> {
    [
        each_part_has_its_place(crates),
        backbone_names_no_domain(crates),
        nothing_is_used_from_above_or_beside(crates),
        no_circles(crates),
        modules_are_in_their_files(crates),
        languages_are_in_their_places(crates),
    ]
    .concat()
}

/// Each part is a domain or has a place in the order.
fn each_part_has_its_place(crates: &[Crate]) -> Vec<String> {
    let domains = domains(crates);
    let of_one = |one: &Crate| {
        let (folder, parts) = (one.order.folder, parts(one));
        let unplaced = parts.into_iter().filter(|part| !domains.contains(part));
        let tell = |part| format!("{folder}/src/{part} has no place in the order, and is no domain of another crate");
        unplaced.map(tell).collect::<Vec<_>>()
    };
    crates.iter().flat_map(of_one).collect()
}

/// The backbone names no domain: neither its module, nor by a word of an identifier or of a string, in the plural or
/// the singular. Comments may.
fn backbone_names_no_domain(crates: &[Crate]) -> Vec<String> {
    let (domains, mut found) = (domains(crates), BTreeSet::new());
    for one in crates {
        let may = |module: &[String]| {
            let part = part(module);
            part.is_empty() || domains.contains(part) || REGISTRY.contains(&part)
        };
        for (path, module) in one.modules.iter().filter(|(path, _)| !may(path)) {
            for (text, line) in module.names.iter().chain(&module.strings) {
                let from = name(one, path);
                let named = domains.iter().filter(|domain| says(text, domain));
                found.extend(named.map(|domain| format!("{}:{line}: {from} names the domain {domain}", module.file)));
            }
        }
        // Through a re-exported name.
        for Edge { from, at, to } in edges(crates, one).filter(|edge| !may(edge.from)) {
            let domain = part(&to.module);
            if domains.contains(domain) {
                found.insert(format!("{at}: {} names the domain {domain}", name(one, from)));
            }
        }
    }
    found.into_iter().collect()
}

/// Whether one of a text's words is this name, or its singular.
fn says(text: &str, name: &str) -> bool {
    let (mut words, mut before) = ("_".to_owned(), ' ');
    for c in text.chars() {
        if before.is_ascii_lowercase() && c.is_ascii_uppercase() {
            words.push('_');
        }
        words.push(if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' });
        before = c;
    }
    [name, name.trim_end_matches('s')].iter().any(|name| format!("{words}_").contains(&format!("_{name}_")))
}

/// A part uses only parts below it; a domain uses no other domain, in any crate.
fn nothing_is_used_from_above_or_beside(crates: &[Crate]) -> Vec<String> {
    let (domains, mut found) = (domains(crates), BTreeSet::new());
    for one in crates {
        for Edge { from, at, to } in edges(crates, one).filter(|edge| !edge.from.is_empty()) {
            let (user, used) = (part(from), part(&to.module));
            let is_wrong = if to.of.name == one.name {
                used.is_empty() || one.order.rank(used) >= one.order.rank(user)
            } else {
                domains.contains(user) && domains.contains(used)
            };
            if user != used && is_wrong {
                let (user, used) = (name(one, from), name(to.of, &to.module));
                found.insert(format!("{at}: {user} uses {used}, which does not stand below it"));
            }
        }
    }
    found.into_iter().collect()
}

/// Sibling modules, each with its descendants, depend on each other in one direction only. A module and its descendants
/// count as one: a child may use its parent's types, and the parent its child.
fn no_circles(crates: &[Crate]) -> Vec<String> {
    let mut found = BTreeSet::new();
    for one in crates {
        // For each folder: which module uses which, and where.
        let mut folders: BTreeMap<&[String], BTreeMap<(&str, String), String>> = BTreeMap::new();
        for Edge { from, at, to } in edges(crates, one).filter(|edge| edge.to.of.name == one.name) {
            let common = from.iter().zip(&to.module).take_while(|(a, b)| a == b).count();
            if let (Some(user), Some(used)) = (from.get(common), to.module.get(common)) {
                folders.entry(&from[..common]).or_default().entry((user, used.clone())).or_insert(at);
            }
        }
        for (folder, uses) in folders {
            let circles = uses.keys().filter_map(|(user, used)| way(&uses, used, user));
            for mut circle in circles {
                // Every member of a cycle finds the same cycle.
                let least = circle.iter().min().cloned();
                let begin = circle.iter().position(|part| Some(part) == least.as_ref()).unwrap_or_default();
                circle.rotate_left(begin);
                let next = circle.iter().cycle().skip(1);
                let steps = circle.iter().zip(next).map(|(user, used)| {
                    let at = &uses[&(user.as_str(), used.clone())];
                    format!("{user} uses {used} ({at})")
                });
                found.insert(format!("a circle in {}: {}", name(one, folder), steps.collect::<Vec<_>>().join(", ")));
            }
        }
    }
    found.into_iter().collect()
}

/// The shortest path along uses, both ends included.
fn way(uses: &BTreeMap<(&str, String), String>, from: &str, to: &str) -> Option<Vec<String>> {
    let mut ways = VecDeque::from([vec![from.to_owned()]]);
    let mut seen = BTreeSet::from([from.to_owned()]);
    while let Some(way) = ways.pop_front() {
        let last = way.last()?;
        if last == to {
            return Some(way);
        }
        let next = uses.keys().filter(|(user, _)| user == last).map(|(_, used)| used);
        let new = next.filter(|used| seen.insert((*used).clone()));
        ways.extend(new.map(|used| [&way[..], std::slice::from_ref(used)].concat()));
    }
    None
}

/// No module is another file by `#[path]`, where it would be read as a part of another module.
fn modules_are_in_their_files(crates: &[Crate]) -> Vec<String> {
    let modules = crates.iter().flat_map(|one| one.modules.values());
    modules.flat_map(|it| it.paths.iter().map(|line| format!("{}:{line}: #[path]", it.file))).collect()
}

/// SQL is only in the shared store and in a domain's `queries`; Lua only in the shared cache. A part of a statement in
/// lower case is not recognised.
fn languages_are_in_their_places(crates: &[Crate]) -> Vec<String> {
    let (domains, mut found) = (domains(crates), Vec::new());
    for one in crates {
        let is_shared = one.name == "shared";
        for (path, module) in &one.modules {
            let is_queries = domains.contains(part(path)) && path.get(1).is_some_and(|second| second == "queries");
            if !(is_shared && (part(path) == "store" || is_queries)) {
                let strings = module.strings.iter().filter(|(text, _)| is_sql(text)).map(|(_, line)| line);
                let calls = module.references.iter().filter(|(path, _)| is_query(path)).map(|(_, line)| line);
                found.extend(strings.chain(calls).map(|line| format!("{}:{line}: SQL", module.file)));
            }
            if !(is_shared && part(path) == "cache") {
                let strings = module.strings.iter().filter(|(text, _)| is_lua(text)).map(|(_, line)| line);
                let calls =
                    module.references.iter().filter(|(path, _)| path.ends_with(&["Script".into(), "new".into()]));
                let lines = strings.chain(calls.map(|(_, line)| line));
                found.extend(lines.map(|line| format!("{}:{line}: Lua", module.file)));
            }
        }
    }
    found
}

fn is_query(path: &[String]) -> bool {
    path.first().is_some_and(|first| first == "sqlx")
}

fn is_lua(literal: &str) -> bool {
    let is_command = ["EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO", "FCALL"].contains(&literal.trim_matches('"'));
    is_command || literal.contains("redis.call") || literal.contains("redis.pcall")
}

/// Whether a string is SQL, a part of it, or the name of a file of it.
fn is_sql(literal: &str) -> bool {
    const VERBS: &str = " ALTER ANALYZE BEGIN CALL COPY CREATE DECLARE DELETE DO DROP EXECUTE EXPLAIN FETCH GRANT INSERT \
        LISTEN LOCK MERGE NOTIFY PREPARE REFRESH REINDEX REVOKE ROLLBACK SAVEPOINT SELECT TRUNCATE UNLISTEN UPDATE \
        VACUUM VALUES WITH ";
    const FRAGMENTS: [&str; 9] =
        ["WHERE", "JOIN", "RETURNING", "HAVING", "ON CONFLICT", "ORDER BY", "GROUP BY", "LIMIT $", "SELECT"];
    // In lower case only where nothing else begins so.
    const LOWER: [(&str, &str); 9] = [
        ("select ", " from "),
        ("insert into ", " "),
        ("delete from ", " where "),
        ("update ", " set "),
        ("merge into ", " using "),
        ("create table ", "("),
        ("create index ", " on "),
        ("drop table ", ""),
        ("alter table ", ""),
    ];
    let text = literal.split_once('"').map_or("", |(_, text)| text).trim_end_matches(['#', '"']).trim();
    let words: Vec<_> = text.split_whitespace().collect();
    let (first, rest) = words.split_first().map_or(("", &[][..]), |(first, rest)| (*first, rest));
    let is_setting = first == "SET"
        && (rest.get(1).is_some_and(|word| ["=", "TO"].contains(word)) || {
            rest.first().is_some_and(|word| ["LOCAL", "SESSION", "CONSTRAINTS", "TRANSACTION"].contains(word))
        });
    let lower = text.to_lowercase();
    is_setting
        || (VERBS.contains(&format!(" {first} ")) && !rest.is_empty())
        || FRAGMENTS
            .iter()
            .any(|part| format!(" {} ", words.join(" ")).contains(&format!(" {part}")) && !rest.is_empty())
        || LOWER.iter().any(|(begin, then)| lower.starts_with(begin) && lower.contains(then))
        || text.ends_with(".sql")
}

/// All files of the workspace are short enough to read in one sitting, and the services' `main.rs` even shorter.
pub(super) fn files_are_short(files: &[(String, usize)]) -> Vec<String> {
    let most = |file: &str| if file.ends_with("-service/src/main.rs") { 59 } else { 400 };
    let long = files.iter().filter(|(file, lines)| *lines > most(file));
    long.map(|(file, lines)| format!("{file}: {lines} lines, and {} at most", most(file))).collect()
}
