//! What the imports of the crates must be like. Each rule gives what breaks it, with file and line.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Crate, Module, Place};

/// A crate's parts, from below: one uses only those of lines above its own. Its domains, side by side, stand on all of
/// `backbone`; `top` stands on the domains.
pub(super) struct Order {
    pub(super) folder: &'static str,
    pub(super) backbone: &'static [&'static [&'static str]],
    pub(super) top: &'static [&'static [&'static str]],
    /// Those of `top` that may name a domain.
    pub(super) registry: &'static [&'static str],
}

impl Order {
    /// Where a part stands: the first have the least.
    fn rank(&self, part: &str) -> usize {
        let below = |lines: &[&[&str]]| lines.iter().position(|line| line.contains(&part));
        let top = || below(self.top).map(|line| self.backbone.len() + 1 + line);
        below(self.backbone).or_else(top).unwrap_or(self.backbone.len())
    }

    fn has(&self, part: &str) -> bool {
        self.backbone.iter().chain(self.top).any(|line| line.contains(&part))
    }
}

/// The workspace's crates, `shared` first, and their orders.
pub(super) struct Workspace<'a> {
    pub(super) crates: Vec<Crate>,
    pub(super) orders: &'a [Order],
}

impl Workspace<'_> {
    fn all(&self) -> impl Iterator<Item = (&Crate, &Order)> {
        self.crates.iter().zip(self.orders)
    }

    fn parts<'a>(one: &'a Crate, order: &Order) -> BTreeSet<&'a str> {
        let parts = one.modules.keys().map(|module| part(module));
        parts.filter(|part| !part.is_empty() && !order.has(part)).collect()
    }

    /// The domains: what `shared` and a service have, and no order.
    fn domains(&self) -> BTreeSet<&str> {
        let mut all = self.all().map(|(one, order)| Self::parts(one, order));
        let of_shared = all.next().unwrap_or_default();
        let of_services: BTreeSet<_> = all.flatten().collect();
        of_shared.intersection(&of_services).copied().collect()
    }
}

/// The part of a crate that a module is in; of the root the empty one.
fn part(module: &[String]) -> &str {
    module.first().map_or("", String::as_str)
}

/// A use of a module by another one.
struct Edge<'a> {
    from: &'a [String],
    at: String,
    to: Place<'a>,
}

fn edges<'a>(crates: &'a [Crate], one: &'a Crate) -> impl Iterator<Item = Edge<'a>> {
    let of_module = move |(from, module): (&'a Vec<String>, &'a Module)| {
        module.references.iter().filter_map(move |(path, line)| {
            let to = one.resolve(crates, from, path)?;
            Some(Edge { from, at: format!("{}:{line}", module.file), to })
        })
    };
    one.modules.iter().flat_map(of_module)
}

fn name(of: &Crate, module: &[String]) -> String {
    [std::slice::from_ref(&of.name), module].concat().join("::")
}

/// Each part is a domain, or has its place in the order.
pub(super) fn each_part_has_its_place(all: &Workspace<'_>) -> Vec<String> {
    let domains = all.domains();
    let of_one = |(one, order): (&Crate, &Order)| {
        let unplaced = Workspace::parts(one, order).into_iter().filter(|part| !domains.contains(part));
        let tell =
            |part| format!("{}/src/{part} has no place in the order, and is no domain of another crate", order.folder);
        unplaced.map(tell).collect::<Vec<_>>()
    };
    all.all().flat_map(of_one).collect()
}

/// A backbone names no domain: not as a module, and in no other way.
pub(super) fn backbone_names_no_domain(all: &Workspace<'_>) -> Vec<String> {
    let (domains, mut found) = (all.domains(), BTreeSet::new());
    for (one, order) in all.all() {
        let may = |module: &[String]| {
            let part = part(module);
            part.is_empty() || domains.contains(part) || order.registry.contains(&part)
        };
        for (path, module) in one.modules.iter().filter(|(path, _)| !may(path)) {
            let named = module.names.iter().filter(|(name, _)| domains.contains(name.as_str()));
            found.extend(named.map(|(domain, line)| {
                format!("{}:{line}: {} names the domain {domain}", module.file, name(one, path))
            }));
        }
        // By a name that somebody hands on.
        for Edge { from, at, to } in edges(&all.crates, one).filter(|edge| !may(edge.from)) {
            let domain = part(&to.module);
            if domains.contains(domain) {
                found.insert(format!("{at}: {} names the domain {domain}", name(one, from)));
            }
        }
    }
    found.into_iter().collect()
}

/// What a part uses stands below it; a domain uses no other one, in whichever crate.
pub(super) fn nothing_is_used_from_above_or_beside(all: &Workspace<'_>) -> Vec<String> {
    let (domains, mut found) = (all.domains(), BTreeSet::new());
    for (one, order) in all.all() {
        for Edge { from, at, to } in edges(&all.crates, one).filter(|edge| !edge.from.is_empty()) {
            let (user, used) = (part(from), part(&to.module));
            let is_wrong = if to.of.name == one.name {
                used.is_empty() || order.rank(used) >= order.rank(user)
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

/// Modules that lie side by side use each other in one direction, with all that is within them. A module and what is
/// within it are one thing: a child may use its parent's types, and the parent its child.
pub(super) fn no_circles(all: &Workspace<'_>) -> Vec<String> {
    let mut found = BTreeSet::new();
    for one in &all.crates {
        // For each folder: who of it uses whom, and where.
        let mut folders: BTreeMap<&[String], BTreeMap<(&str, String), String>> = BTreeMap::new();
        for Edge { from, at, to } in edges(&all.crates, one).filter(|edge| edge.to.of.name == one.name) {
            let common = from.iter().zip(&to.module).take_while(|(a, b)| a == b).count();
            if let (Some(user), Some(used)) = (from.get(common), to.module.get(common)) {
                folders.entry(&from[..common]).or_default().entry((user, used.clone())).or_insert(at);
            }
        }
        for (folder, uses) in folders {
            let circles = uses.keys().filter_map(|(user, used)| way(&uses, used, user));
            for mut circle in circles {
                // Each of it finds the same circle.
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

/// The shortest way along uses, both ends included.
fn way(uses: &BTreeMap<(&str, String), String>, from: &str, to: &str) -> Option<Vec<String>> {
    let mut ways = vec![vec![from.to_owned()]];
    let mut seen = BTreeSet::from([from.to_owned()]);
    while !ways.is_empty() {
        if let Some(found) = ways.iter().find(|way| way.last().is_some_and(|last| last == to)) {
            return Some(found.clone());
        }
        let mut longer = Vec::new();
        for way in &ways {
            let next =
                uses.keys().filter(|(user, _)| way.last().is_some_and(|last| last == user)).map(|(_, used)| used);
            longer.extend(
                next.filter(|used| seen.insert((*used).clone()))
                    .map(|used| [&way[..], std::slice::from_ref(used)].concat()),
            );
        }
        ways = longer;
    }
    None
}

/// SQL is in the shared store and in a domain's `queries`; Lua in the shared cache.
pub(super) fn languages_are_in_their_places(all: &Workspace<'_>) -> Vec<String> {
    let (domains, mut found) = (all.domains(), Vec::new());
    for (one, order) in all.all() {
        let is_shared = order.folder == "shared";
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

/// Files are short enough to be read in one sitting: those of all the workspace, and the services' `main.rs` even more so.
pub(super) fn files_are_short(files: &[(String, usize)]) -> Vec<String> {
    let most = |file: &str| if file.ends_with("-service/src/main.rs") { 59 } else { 400 };
    let long = files.iter().filter(|(file, lines)| *lines > most(file));
    long.map(|(file, lines)| format!("{file}: {lines} lines, and {} at most", most(file))).collect()
}
