//! The references of a crate's modules, from their tokens, including those in macros. Tests are left out.

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
                    Some("cfg") if is_test(&tokens) => return 2 + self.skip_item(&rest[2..], at),
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
                if text.contains('"') {
                    self.module(at).strings.push((text, literal.span().start().line));
                }
                1
            }
            TokenTree::Punct(_) => 1,
            TokenTree::Ident(ident) => match ident.to_string().as_str() {
                "use" => self.import(&rest[1..], at) + 1,
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
        let is_end = |token: &TokenTree| {
            is(token, ';') || matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
        };
        let end = rest.iter().position(is_end).map_or(rest.len(), |end| end + 1);
        let item = &rest[..end];
        let module = item.iter().position(|token| matches!(token, TokenTree::Ident(word) if word == "mod"));
        if let Some(TokenTree::Ident(name)) = module.and_then(|module| item.get(module + 1)) {
            self.all.tests.insert([at, &[name.to_string()]].concat());
        }
        end
    }
}

fn is(token: &TokenTree, character: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == character)
}

fn is_path_separator(rest: &[TokenTree]) -> bool {
    matches!(rest, [TokenTree::Punct(first), second, ..]
        if first.as_char() == ':' && first.spacing() == Spacing::Joint && is(second, ':'))
}

/// Whether the attribute is `cfg(test)`, but not `cfg(not(test))`.
fn is_test(attribute: &[TokenTree]) -> bool {
    let text: String = attribute.iter().map(ToString::to_string).collect::<String>().split_whitespace().collect();
    text.contains("test") && !text.contains("not(test)")
}
