//! Cache keys. The kind of a key defines its prefix in Redis, and how its bodies are read from PostgreSQL.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::store::{Failure, Loaded, Store};

/// A kind of cached resource.
pub struct Kind {
    /// The prefix of its keys, after `CACHE_KEY_PREFIX`; for example `resource:`. Unique among kinds, and without
    /// braces.
    pub prefix: &'static str,
    /// Reads bodies from PostgreSQL.
    pub load: Load,
}

/// Reads the resources with these identifiers; those that do not exist are left out.
pub type Load = for<'a> fn(&'a Store, &'a [Arc<str>]) -> BoxFuture<'a, Result<Vec<Loaded>, Failure>>;

/// The key of a cached resource: its kind and its identifier.
#[derive(Clone)]
pub struct CacheKey {
    kind: &'static Kind,
    id: Arc<str>,
}

impl Kind {
    /// Its name in the metrics: the prefix without its colon.
    pub fn name(&self) -> &'static str {
        self.prefix.trim_end_matches(':')
    }
}

impl CacheKey {
    /// The key of a resource. The identifier must not contain a brace, which would change the slot in a cluster.
    pub fn new(kind: &'static Kind, id: Arc<str>) -> Self {
        Self { kind, id }
    }

    /// Its kind.
    pub fn kind(&self) -> &'static Kind {
        self.kind
    }

    /// Its identifier, unique within its kind.
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

/// The key in Redis, without `CACHE_KEY_PREFIX`.
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
