//! Cache keys. The kind of a key defines its prefix in Redis, and how its bodies are read from PostgreSQL.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use anyhow::ensure;
use futures_util::future::BoxFuture;

use crate::kafka::ids::percent_encoded;
use crate::store::{Failure, Loaded, Store};

/// A kind of cached resource.
pub struct Kind {
    /// The prefix of its keys, after `CACHE_KEY_PREFIX`; for example `resource:`. See [`Kind::ensure_apart`].
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

    /// Refuses kinds whose keys could be those of another kind, or choose a slot of a cluster by a brace.
    pub fn ensure_apart(kinds: &[&Self]) -> anyhow::Result<()> {
        for (index, Self { prefix, .. }) in kinds.iter().enumerate() {
            ensure!(!prefix.contains(['{', '}']), "the prefix {prefix:?} of a kind of cached resources has a brace");
            for Self { prefix: other, .. } in kinds.iter().take(index) {
                ensure!(
                    !prefix.starts_with(other) && !other.starts_with(prefix),
                    "two kinds of cached resources have the prefixes {other:?} and {prefix:?}: a key could be of both"
                );
            }
        }
        Ok(())
    }
}

impl CacheKey {
    /// The key of a resource.
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

    /// The key in Redis, with `CACHE_KEY_PREFIX`. The identifier is percent-encoded: a brace would choose the slot in a
    /// cluster.
    pub(super) fn in_redis(&self, prefix: &str) -> String {
        let (kind, id) = self.parts();
        let mut key = String::with_capacity(prefix.len() + kind.len() + id.len());
        key.extend([prefix, kind]);
        key.extend(percent_encoded(id));
        key
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
        write!(f, "{prefix}{}", percent_encoded(id))
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::devices::{DeviceId, RESOURCE};

    #[test]
    fn no_key_is_of_two_kinds() {
        let said = |prefixes: &[&'static str]| {
            let load: Load = |_, _| async { Ok(Vec::new()) }.boxed();
            let kinds: Vec<_> = prefixes.iter().map(|&prefix| Kind { prefix, load }).collect();
            Kind::ensure_apart(&kinds.iter().collect::<Vec<_>>()).map_err(|error| error.to_string())
        };
        assert_eq!(said(&["resource:", "report:", "reports:"]), Ok(()));
        for (wrong, expected) in [
            (["report:", "report:"], r#"the prefixes "report:" and "report:""#),
            (["report:day:", "report:"], r#"the prefixes "report:day:" and "report:""#),
            (["report:", ""], r#"the prefixes "report:" and """#),
            (["report:", "{report}:"], r#"the prefix "{report}:""#),
        ] {
            let refused = said(&wrong).unwrap_err();
            assert!(refused.contains(expected), "{refused}");
        }
    }

    #[test]
    fn a_key_is_plain_text_whatever_the_identifier_is() {
        for (id, expected) in [
            ("device-123", "p:resource:device-123"),
            ("a.b_c:D", "p:resource:a.b_c:D"),
            ("{a}/b c%", "p:resource:%7Ba%7D%2Fb%20c%25"),
        ] {
            let key = id.parse::<DeviceId>().unwrap().cache_key();
            assert_eq!((key.in_redis("p:"), key.in_redis("")), (expected.to_owned(), key.to_string()));
            assert_eq!((key.kind().prefix, &**key.id()), (RESOURCE.prefix, id));
        }
    }
}
