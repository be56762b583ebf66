//! The references of a crate's modules, from their tokens, including those in macros. Tests are left out.
//!
//! Not seen: a name that a macro puts together (`concat_idents!`), a method or a field of a type of another module, a
//! string that is put together at run time.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// A path in the code, such as `crate::store::Tx`, and its line.
pub(super) type Reference = (Vec<String>, usize);

/// A module: a file, or an inline module.
#[derive(Debug, Default)]
pub(super) struct Module {
    pub(super) file: String,
    /// By local name.
    imports: BTreeMap<String, Vec<String>>,
    globs: Vec<Vec<String>>,
    pub(super) references: Vec<Reference>,
    pub(super) names: Vec<(String, usize)>,
    pub(super) strings: Vec<(String, usize)>,
    /// The lines of `#[path]`, behind which a module may be any file.
    pub(super) paths: Vec<usize>,
}

/// A crate's parts, lowest first: a part uses only parts of earlier lines. The domains are side by side on top of all
/// of `backbone`; `top` is above the domains.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) folder: &'static str,
    pub(super) backbone: &'static [&'static [&'static str]],
    pub(super) top: &'static [&'static [&'static str]],
}

/// A crate's modules by path, such as `store::session`; the root's path is empty.
#[derive(Debug)]
pub(super) struct Crate {
    pub(super) name: String,
    pub(super) order: &'static Order,
    pub(super) modules: BTreeMap<Vec<String>, Module>,
    tests: BTreeSet<Vec<String>>,
}

impl Crate {
    /// A crate from its files, named relative to the workspace.
    pub(super) fn of(order: &'static Order, files: impl IntoIterator<Item = (String, String)>) -> Self {
        let folder = order.folder;
        let (name, modules, tests) = (folder.replace('-', "_"), BTreeMap::new(), BTreeSet::new());
        let mut all = Self { name, order, modules, tests };
        for (file, text) in files {
            let below = file.strip_prefix(&format!("{folder}/src/")).unwrap_or(&file);
            let mut path: Vec<String> = below.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
            if path == ["lib"] {
                path.clear();
            }
            let tokens = text.parse().unwrap_or_else(|error| panic!("{file}: {error}"));
            all.modules.entry(path.clone()).or_default();
            Reader { all: &mut all, file: &file }.items(tokens, &path);
        }
        let tests = std::mem::take(&mut all.tests);
        all.modules.retain(|path, _| !(0..=path.len()).any(|length| tests.contains(&path[..length])));
        all
    }

    /// Resolves a path in this module to a module, possibly of another of these crates.
    pub(super) fn follow<'a>(
        &'a self,
        crates: &'a [Crate],
        at: &[String],
        path: &[String],
        depth: usize,
    ) -> Option<Place<'a>> {
        // Cyclic imports, which the compiler would refuse, must not recurse forever.
        if depth > 20 {
            return None;
        }
        let (first, rest) = path.split_first()?;
        let up = at.len().checked_sub(1).map(|end| &at[..end]);
        match first.as_str() {
            "crate" => self.descend(crates, &[], rest, depth),
            "self" if rest.first().is_some_and(|next| next == "super") => self.follow(crates, at, rest, depth + 1),
            "self" => self.descend(crates, at, rest, depth),
            "super" if rest.first().is_some_and(|next| next == "super") => self.follow(crates, up?, rest, depth + 1),
            "super" => self.descend(crates, up?, rest, depth),
            name if self.has(at, name) => self.descend(crates, at, path, depth),
            name => {
                let other = crates.iter().find(|other| other.name == name)?;
                other.descend(crates, &[], rest, depth)
            }
        }
    }

    /// Whether a name in this module is a child module or an import.
    fn has(&self, at: &[String], name: &str) -> bool {
        let child = [at, &[name.to_owned()]].concat();
        self.modules.contains_key(&child)
            || self.modules.get(at).is_some_and(|module| module.imports.contains_key(name))
    }

    fn descend<'a>(&'a self, crates: &'a [Crate], at: &[String], path: &[String], depth: usize) -> Option<Place<'a>> {
        let here = || Some(Place { of: self, module: at.to_vec() });
        let Some((first, rest)) = path.split_first() else { return here() };
        let child = [at, std::slice::from_ref(first)].concat();
        if self.modules.contains_key(&child) {
            return self.descend(crates, &child, rest, depth);
        }
        let Some(module) = self.modules.get(at) else { return here() };
        if let Some(import) = module.imports.get(first) {
            let whole = [import, rest].concat();
            // `use a::b as a` refers to itself.
            if import.first() != Some(first) || import.len() > 1 {
                let found = self.follow(crates, at, &whole, depth + 1);
                // A re-exported name of another crate belongs to the module that re-exports it.
                return found.or_else(here);
            }
        }
        let from_globs = module.globs.iter().filter_map(|glob| self.follow(crates, at, glob, depth + 1));
        let mut from_globs = from_globs.filter(|found| found.of.has(&found.module, first));
        from_globs.next().map_or_else(here, |found| found.of.descend(crates, &found.module, path, depth + 1))
    }
}

/// A module of one of the crates.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) of: &'a Crate,
    pub(super) module: Vec<String>,
}

struct Reader<'a> {
    all: &'a mut Crate,
    file: &'a str,
}

impl Reader<'_> {
    fn module(&mut self, at: &[String]) -> &mut Module {
        let module = self.all.modules.entry(at.to_vec()).or_default();
        self.file.clone_into(&mut module.file);
        module
    }

    fn items(&mut self, tokens: TokenStream, at: &[String]) {
        self.module(at);
        let tokens: Vec<_> = tokens.into_iter().collect();
        let mut n = 0;
        while let Some(token) = tokens.get(n) {
            n += self.item(token, &tokens[n..], at);
        }
    }

    /// Reads the item that begins with a token; returns its number of tokens.
    fn item(&mut self, token: &TokenTree, rest: &[TokenTree], at: &[String]) -> usize {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                // `#![…]` applies to the enclosing item.
                let inner = usize::from(rest.get(1).is_some_and(|next| is(next, '!')));
                let Some(TokenTree::Group(attribute)) = rest.get(1 + inner) else { return 1 };
                let tokens: Vec<_> = attribute.stream().into_iter().collect();
                match tokens.first().map(ToString::to_string).as_deref() {
                    Some("doc") => {}
                    Some("macro_export") => self.exported_macro(&rest[2..], at),
                    Some("path") => self.module(at).paths.push(attribute.span().start().line),
                    Some("cfg") if is_only_for_tests(&tokens) => return 2 + self.skip_item(&rest[2..], at),
                    _ => self.items(attribute.stream(), at),
                }
                2 + inner
            }
            TokenTree::Group(group) => {
                self.items(group.stream(), at);
                1
            }
            TokenTree::Literal(literal) => {
                let text = literal.to_string();
                let line = literal.span().start().line;
                let path: Vec<_> = text.trim_matches('"').split("::").map(str::to_owned).collect();
                // As in `serde(with = "crate::…")`.
                if path.len() > 1 && ["crate", "self", "super"].contains(&path[0].as_str()) {
                    self.module(at).references.push((path, line));
                }
                if text.contains('"') {
                    self.module(at).strings.push((text, line));
                }
                1
            }
            TokenTree::Punct(_) => 1,
            TokenTree::Ident(ident) => match ident.to_string().as_str() {
                "use" => self.import(&rest[1..], at) + 1,
                "extern" if rest.get(1).is_some_and(|next| next.to_string() == "crate") => {
                    self.import(&rest[2..], at) + 2
                }
                // An earlier name, which stays as long as callers have it.
                "alias" if rest.get(1).is_some_and(|next| is(next, '=')) => 3,
                "mod" => match &rest[1..] {
                    [TokenTree::Ident(name), TokenTree::Group(body), ..] => {
                        self.items(body.stream(), &[at, &[name.to_string()]].concat());
                        3
                    }
                    _ => 2,
                },
                // `pub(in …)` is a visibility, not a reference.
                "pub" if matches!(rest.get(1), Some(TokenTree::Group(of)) if of.delimiter() == Delimiter::Parenthesis) => {
                    2
                }
                _ => self.path(rest, at),
            },
        }
    }

    fn path(&mut self, rest: &[TokenTree], at: &[String]) -> usize {
        let (mut path, mut n, line) = (Vec::new(), 0, rest[0].span().start().line);
        while let Some(TokenTree::Ident(ident)) = rest.get(n) {
            path.push(ident.to_string());
            self.module(at).names.push((ident.to_string(), ident.span().start().line));
            n += 1;
            if !is_path_separator(&rest[n..]) || !matches!(rest.get(n + 2), Some(TokenTree::Ident(_))) {
                break;
            }
            n += 2;
        }
        // A single name is a variable or an import.
        if path.len() > 1 {
            self.module(at).references.push((path, line));
        }
        n
    }

    /// Reads a `use` after the keyword; returns its number of tokens.
    fn import(&mut self, rest: &[TokenTree], at: &[String]) -> usize {
        let end = rest.iter().position(|token| is(token, ';')).unwrap_or(rest.len());
        self.tree(&rest[..end], &[], at);
        end
    }

    fn tree(&mut self, tokens: &[TokenTree], before: &[String], at: &[String]) {
        for tree in tokens.split(|token| is(token, ',')).filter(|tree| !tree.is_empty()) {
            let (mut path, mut alias, mut glob) = (before.to_vec(), None, false);
            for (n, token) in tree.iter().enumerate() {
                match token {
                    TokenTree::Ident(ident) if ident == "as" => {
                        alias = tree.get(n + 1).map(ToString::to_string);
                        break;
                    }
                    TokenTree::Ident(ident) => {
                        path.push(ident.to_string());
                        self.module(at).names.push((ident.to_string(), ident.span().start().line));
                    }
                    TokenTree::Group(group) => {
                        let inner: Vec<_> = group.stream().into_iter().collect();
                        self.tree(&inner, &path, at);
                        path.clear();
                    }
                    token => glob |= is(token, '*'),
                }
            }
            if path.is_empty() {
                continue;
            }
            let line = tree[0].span().start().line;
            if path.last().is_some_and(|last| last == "self") && path.len() > 1 {
                path.pop();
            }
            let module = self.module(at);
            module.references.push((path.clone(), line));
            if glob {
                module.globs.push(path);
            } else if let Some(name) = alias.or_else(|| path.last().cloned()) {
                module.imports.insert(name, path);
            }
        }
    }

    /// A macro exported at the crate's root belongs to the module that defines it.
    fn exported_macro(&mut self, rest: &[TokenTree], at: &[String]) {
        if let [TokenTree::Ident(_), TokenTree::Punct(_), TokenTree::Ident(name), ..] = rest {
            let path = [&["crate".to_owned()], at, &[name.to_string()]].concat();
            self.module(&[]).imports.insert(name.to_string(), path);
        }
    }

    /// Skips an item that is compiled only for tests; returns its number of tokens.
    fn skip_item(&mut self, rest: &[TokenTree], at: &[String]) -> usize {
        // Not of a field, a variant or an argument, which ends at a comma that is not between angle brackets.
        let begins_item = |token: &TokenTree| ITEMS.contains(&format!(" {token} "));
        let first =
            rest.iter().position(|token| !(is(token, '#') || is_bracketed(token) || token.to_string() == "pub"));
        let begins_item = first.and_then(|first| rest.get(first)).is_some_and(begins_item);
        let (mut depth, mut before) = (0, ' ');
        let mut is_end = |token: &TokenTree| match token {
            TokenTree::Punct(punct) => {
                let character = punct.as_char();
                match character {
                    '<' => depth += 1,
                    '>' if !['-', '='].contains(&before) => depth -= 1,
                    _ => {}
                }
                before = character;
                character == ';' || character == ',' && depth == 0 && !begins_item
            }
            TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
            _ => false,
        };
        let end = rest.iter().position(&mut is_end).map_or(rest.len(), |end| end + 1);
        let item = &rest[..end];
        let module = item.iter().position(|token| matches!(token, TokenTree::Ident(word) if word == "mod"));
        if let Some(TokenTree::Ident(name)) = module.and_then(|module| item.get(module + 1)) {
            self.all.tests.insert([at, &[name.to_string()]].concat());
        }
        end
    }
}

/// The words that items begin with, behind their attributes and `pub`.
const ITEMS: &str = " async const enum extern fn impl macro_rules mod static struct trait type unsafe use ";

/// An attribute's brackets, or the parentheses of `pub(…)`.
fn is_bracketed(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() != Delimiter::Brace)
}

fn is(token: &TokenTree, character: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == character)
}

fn is_path_separator(rest: &[TokenTree]) -> bool {
    matches!(rest, [TokenTree::Punct(first), second, ..]
        if first.as_char() == ':' && first.spacing() == Spacing::Joint && is(second, ':'))
}

/// Whether `cfg(…)` is false without `test`, whatever else is set.
fn is_only_for_tests(attribute: &[TokenTree]) -> bool {
    let [_, TokenTree::Group(predicate)] = attribute else { return false };
    let predicate: Vec<_> = predicate.stream().into_iter().collect();
    without_test(&predicate) == Some(false)
}

/// The value of a predicate of `cfg` without `test`; `None` if it depends on something else.
fn without_test(predicate: &[TokenTree]) -> Option<bool> {
    let [TokenTree::Ident(name), more @ ..] = predicate else { return None };
    let values = || match more {
        [TokenTree::Group(all)] => {
            let all: Vec<_> = all.stream().into_iter().collect();
            all.split(|token| is(token, ',')).filter(|one| !one.is_empty()).map(without_test).collect()
        }
        _ => Vec::new(),
    };
    // `all` is false if one is, `any` is true if one is.
    let decided = |by: bool| match values() {
        all if all.contains(&Some(by)) => Some(by),
        all if all.contains(&None) => None,
        _ => Some(!by),
    };
    match name.to_string().as_str() {
        "test" => Some(false),
        "not" => values().first().copied().flatten().map(|value| !value),
        "all" => decided(false),
        "any" => decided(true),
        _ => None,
    }
}
