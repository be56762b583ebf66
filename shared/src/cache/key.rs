//! What is cached: a key's kind says under which prefix it lies in Redis, and how its bodies are read from PostgreSQL.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::store::{Failure, Loaded, Store};

/// A kind of things that are cached.
pub struct Kind {
    /// What the key of each begins with, behind `CACHE_KEY_PREFIX`: `resource:`. Unique among kinds, and without
    /// braces.
    pub prefix: &'static str,
    /// Reads those that exist.
    pub load: Load,
}

/// Reads those with these identifiers that exist.
pub type Load = for<'a> fn(&'a Store, &'a [Arc<str>]) -> BoxFuture<'a, Result<Vec<Loaded>, Failure>>;

/// A thing that is cached: its kind, and its identifier there.
#[derive(Clone)]
pub struct CacheKey {
    kind: &'static Kind,
    id: Arc<str>,
}

impl Kind {
    /// Its name, as in the metrics: the prefix without its colon.
    pub fn name(&self) -> &'static str {
        self.prefix.trim_end_matches(':')
    }
}

impl CacheKey {
    /// The key of a thing. Its identifier must hold no brace, which would choose the slot in a cluster.
    pub fn new(kind: &'static Kind, id: Arc<str>) -> Self {
        Self { kind, id }
    }

    /// Its kind.
    pub fn kind(&self) -> &'static Kind {
        self.kind
    }

    /// Its identifier among those of its kind.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn parts(&self) -> (&'static str, &str) {
        (self.kind.prefix, &self.id)
    }
}

impl PartialEq for CacheKey {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for CacheKey {}

impl Hash for CacheKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

/// As it stands in Redis, behind `CACHE_KEY_PREFIX`.
impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (prefix, id) = self.parts();
        write!(f, "{prefix}{id}")
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
