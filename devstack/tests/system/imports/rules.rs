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

/// The backbone names no domain, neither as a module nor in any other way.
fn backbone_names_no_domain(crates: &[Crate]) -> Vec<String> {
    let (domains, mut found) = (domains(crates), BTreeSet::new());
    for one in crates {
        let may = |module: &[String]| {
            let part = part(module);
            part.is_empty() || domains.contains(part) || REGISTRY.contains(&part)
        };
        for (path, module) in one.modules.iter().filter(|(path, _)| !may(path)) {
            let named = module.names.iter().filter(|(name, _)| domains.contains(name.as_str()));
            found.extend(named.map(|(domain, line)| {
                format!("{}:{line}: {} names the domain {domain}", module.file, name(one, path))
            }));
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

/// SQL is only in the shared store and in a domain's `queries`; Lua only in the shared cache.
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
                let strings =
                    module.strings.iter().filter(|(text, _)| text.contains("redis.call")).map(|(_, line)| line);
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
    let [first, .., last] = path else { return false };
    first == "sqlx" && (last.starts_with("query") || last == "raw_sql")
}

fn is_sql(literal: &str) -> bool {
    const VERBS: [&str; 17] = [
        "ALTER",
        "ANALYZE",
        "BEGIN",
        "COPY",
        "CREATE",
        "DELETE",
        "DROP",
        "EXPLAIN",
        "INSERT",
        "LOCK",
        "ROLLBACK",
        "SAVEPOINT",
        "SELECT",
        "TRUNCATE",
        "UPDATE",
        "VACUUM",
        "WITH",
    ];
    let text = literal.trim_start_matches(['r', 'b', 'c', '#', '"', ' ', '\n']);
    let mut words = text.split_whitespace();
    let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let is_setting = first == "SET" && ["LOCAL", "SESSION", "CONSTRAINTS", "TRANSACTION"].contains(&second);
    is_setting
        || (VERBS.contains(&first) && !second.is_empty())
        || (text.contains("SELECT ") && text.contains(" FROM "))
}

/// All files of the workspace are short enough to read in one sitting, and the services' `main.rs` even shorter.
pub(super) fn files_are_short(files: &[(String, usize)]) -> Vec<String> {
    let most = |file: &str| if file.ends_with("-service/src/main.rs") { 59 } else { 400 };
    let long = files.iter().filter(|(file, lines)| *lines > most(file));
    long.map(|(file, lines)| format!("{file}: {lines} lines, and {} at most", most(file))).collect()
}
