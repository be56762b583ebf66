//! The store of files: a folder, or a bucket of S3. An object's name is the SHA-256 of its content: so it never changes,
//! a put may be repeated, and nobody reads a half-written one.

mod bucket;
mod hash;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{Error, ObjectMeta, ObjectStore, ObjectStoreExt as _};
use reqwest::Url;
use time::OffsetDateTime;

pub use self::hash::{ObjectHash, ObjectHashError};
use crate::runtime::config::trimmed;
use crate::store::Failure;

/// The longest wait for one call: a handler has two seconds before its transaction.
const CALL_TIMEOUT: Duration = Duration::from_millis(1_500);
/// The object that a probe puts, beside the others.
const PROBE: &str = "probe";
/// The most characters of an error that are told: a server's answer may be long.
const MAX_ERROR: usize = 300;

/// Where files are.
#[derive(Debug, Clone, clap::Args)]
pub struct FilesConfig {
    /// Where the files of videos are: `file:///FOLDER`, which every instance must see, or `s3://BUCKET/PREFIX`, whose
    /// credentials, region and endpoint are in `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`,
    /// `AWS_ENDPOINT`, or those of the container's role. An endpoint of `http://` needs `AWS_ALLOW_HTTP=true`.
    #[arg(long, env, value_parser = trimmed(FilesUrl::from_str))]
    pub files_url: Option<FilesUrl>,
}

/// The address of a folder, or of a bucket and the beginning of names in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesUrl(Url);

impl FromStr for FilesUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url: Url = text.parse().map_err(|error| format!("it is not a URL: {error}"))?;
        let is_plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        let is_known = match url.scheme() {
            "file" => url.host_str().is_none() && url.path() != "/",
            "s3" => url.host_str().is_some() && url.port().is_none(),
            _ => false,
        };
        if is_plain && is_known { Ok(Self(url)) } else { Err("it must be file:///FOLDER or s3://BUCKET/PREFIX".into()) }
    }
}

impl fmt::Display for FilesUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The store did not do it. If it refused or is away, no content causes that: the event that met it is not suspected. If
/// it took too long, the contents may be too many or too large: a batch is tried in halves.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the store of files: {reason}")]
pub struct ObjectsError {
    reason: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unavailable,
    TookTooLong,
    Damaged,
}

impl ObjectsError {
    fn new(reason: String) -> Self {
        Self { reason, kind: Kind::Unavailable }
    }

    /// Whether the store has the object, with another content than was put.
    pub fn is_damaged(&self) -> bool {
        self.kind == Kind::Damaged
    }
}

impl From<ObjectsError> for Failure {
    fn from(error: ObjectsError) -> Self {
        match error.kind {
            Kind::TookTooLong => Self::outage(error.to_string()),
            Kind::Unavailable | Kind::Damaged => Self::away(error.to_string()),
        }
    }
}

impl From<Error> for ObjectsError {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        let shown: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_ERROR).collect();
        Self::new(shown)
    }
}

/// An object that the store has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Its hash, which is its name.
    pub hash: ObjectHash,
    /// When it was put last, by the store's clock.
    pub put_at: OffsetDateTime,
}

/// The objects of a folder or a bucket.
#[derive(Debug, Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
}

impl Objects {
    /// Opens the store. It is asked for the first time by a call: so a service starts while S3 is away.
    pub fn open(url: &FilesUrl) -> anyhow::Result<Self> {
        let FilesUrl(url) = url;
        let prefix = Path::from_url_path(url.path()).context("FILES_URL")?;
        let store: Arc<dyn ObjectStore> = match url.scheme() {
            "file" => Arc::new(LocalFileSystem::new().with_fsync(true)),
            _ => Arc::new(bucket::open(AmazonS3Builder::from_env(), url)?),
        };
        Ok(Self { store, prefix })
    }

    /// Puts an object. It may be there already.
    pub async fn put(&self, hash: ObjectHash, content: Bytes) -> Result<(), ObjectsError> {
        call(self.store.put(&self.place(hash), content.into())).await?;
        Ok(())
    }

    /// Puts an object that nobody reads, to find out whether others could be put.
    pub async fn probe(&self) -> Result<(), ObjectsError> {
        let place = self.prefix.clone().join(PROBE);
        call(self.store.put(&place, Bytes::from_static(b"probe").into())).await?;
        Ok(())
    }

    /// An object's content; `None` if there is no such object. What is not as it was put is an error
    /// ([`ObjectsError::is_damaged`]).
    pub async fn get(&self, hash: ObjectHash) -> Result<Option<Bytes>, ObjectsError> {
        let place = self.place(hash);
        let read = call(async { self.store.get(&place).await?.bytes().await }).await;
        match read {
            Ok(content) if ObjectHash::of(&content) == hash => Ok(Some(content)),
            Ok(_) => {
                let reason = format!("{place} is damaged: its content has another SHA-256");
                Err(ObjectsError { reason, kind: Kind::Damaged })
            }
            Err(Missed::NotThere) => Ok(None),
            Err(Missed::Error(error)) => Err(error),
        }
    }

    /// Deletes an object, if it is there.
    pub async fn delete(&self, hash: ObjectHash) -> Result<(), ObjectsError> {
        match call(self.store.delete(&self.place(hash))).await {
            Ok(()) | Err(Missed::NotThere) => Ok(()),
            Err(Missed::Error(error)) => Err(error),
        }
    }

    /// When an object was put last; `None` if it is not there.
    pub async fn put_at(&self, hash: ObjectHash) -> Result<Option<OffsetDateTime>, ObjectsError> {
        match call(self.store.head(&self.place(hash))).await {
            Ok(meta) => Ok(listed(&meta).map(|listed| listed.put_at)),
            Err(Missed::NotThere) => Ok(None),
            Err(Missed::Error(error)) => Err(error),
        }
    }

    /// All objects. Names that are no hashes are left out.
    pub fn list(&self) -> BoxStream<'static, Result<Listed, ObjectsError>> {
        let all = self.store.list(Some(&self.prefix));
        all.filter_map(|meta| async move { meta.map(|meta| listed(&meta)).map_err(ObjectsError::from).transpose() })
            .boxed()
    }

    /// `<prefix>/<2 digits>/<62 digits>`: folders stay small.
    fn place(&self, hash: ObjectHash) -> Path {
        let text = hash.to_string();
        let (folder, name) = text.split_at_checked(2).unwrap_or_default();
        self.prefix.clone().join(folder).join(name)
    }
}

fn listed(meta: &ObjectMeta) -> Option<Listed> {
    let parts: Vec<_> = meta.location.parts().collect();
    let [.., folder, name] = parts.as_slice() else { return None };
    let hash = format!("{}{}", folder.as_ref(), name.as_ref()).parse().ok()?;
    let put_at = OffsetDateTime::from_unix_timestamp(meta.last_modified.timestamp()).ok()?;
    Some(Listed { hash, put_at })
}

/// Why a call returned nothing.
enum Missed {
    NotThere,
    Error(ObjectsError),
}

impl From<Missed> for ObjectsError {
    fn from(missed: Missed) -> Self {
        match missed {
            Missed::NotThere => Self::new("there is no such object".to_owned()),
            Missed::Error(error) => error,
        }
    }
}

async fn call<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Missed> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(Error::NotFound { .. })) => Err(Missed::NotThere),
        Ok(Err(error)) => Err(Missed::Error(error.into())),
        Err(_) => {
            let reason = format!("no answer within {CALL_TIMEOUT:?}");
            Err(Missed::Error(ObjectsError { reason, kind: Kind::TookTooLong }))
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt as _;

    use super::*;

    #[test]
    fn an_address_is_of_a_folder_or_a_bucket() {
        for good in ["file:///var/files", "file:///a", "s3://bucket", "s3://bucket/", "s3://bucket/a/b"] {
            assert!(good.parse::<FilesUrl>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "/var/files",
            "file://",
            "file:///",
            "file://host/a",
            "s3://",
            "http://host/a",
            "memory:///",
            "s3://user:password@bucket/a",
            "s3://bucket/a?b=c",
            "s3://bucket:80/a",
            "file:///a#b",
        ] {
            let refused = bad.parse::<FilesUrl>().unwrap_err();
            assert!(refused.starts_with("it must be file:///") || refused.starts_with("it is not a URL"), "{bad}");
        }
    }

    /// A folder of its own, which does not exist yet.
    fn folder(name: &str) -> std::path::PathBuf {
        devstack::target_dir().join("devstack").join(format!("{name}-{}-{:08x}", std::process::id(), fastrand::u32(..)))
    }

    #[tokio::test]
    async fn a_folder_keeps_what_is_put() {
        let folder = folder("objects");
        let objects = Objects::open(&format!("file://{}", folder.display()).parse().unwrap()).unwrap();
        assert!(objects.list().try_collect::<Vec<_>>().await.unwrap().is_empty(), "it does not exist yet");
        let (content, hash) = (Bytes::from_static(b"abc"), ObjectHash::of(b"abc"));
        assert_eq!(objects.get(hash).await, Ok(None));
        let before = OffsetDateTime::now_utc() - time::Duration::seconds(2);
        for _ in 0..2 {
            objects.put(hash, content.clone()).await.unwrap();
            assert_eq!(objects.get(hash).await, Ok(Some(content.clone())));
        }
        objects.probe().await.unwrap();
        let place = folder.join("ba").join(&hash.to_string()[2..]);
        assert_eq!(std::fs::read(&place).unwrap(), b"abc");
        let all: Vec<_> = objects.list().try_collect().await.unwrap();
        assert_eq!(all.iter().map(|one| one.hash).collect::<Vec<_>>(), [hash], "the probe's is not listed");
        assert!(all[0].put_at >= before, "{all:?}");
        assert_eq!(objects.put_at(hash).await, Ok(Some(all[0].put_at)));

        std::fs::write(&place, b"abd").unwrap();
        let damaged = objects.get(hash).await.unwrap_err();
        assert!(damaged.is_damaged() && damaged.to_string().contains("another SHA-256"), "{damaged}");
        for _ in 0..2 {
            objects.delete(hash).await.unwrap();
            assert_eq!((objects.get(hash).await, objects.put_at(hash).await), (Ok(None), Ok(None)));
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[tokio::test]
    async fn without_its_folder_each_call_is_an_outage() {
        let folder = folder("no-objects");
        std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
        std::fs::write(&folder, b"a file, and no folder").unwrap();
        let objects = Objects::open(&format!("file://{}", folder.display()).parse().unwrap()).unwrap();
        let hash = ObjectHash::of(b"abc");
        let failure = Failure::from(objects.put(hash, Bytes::from_static(b"abc")).await.unwrap_err());
        assert_eq!(failure.class, crate::store::Class::Outage, "{failure}");
        assert!(objects.probe().await.is_err_and(|error| !error.is_damaged()));
        std::fs::remove_file(&folder).unwrap();
    }

    #[tokio::test]
    async fn what_takes_too_long_may_be_too_large() {
        let Err(Missed::Error(error)) = call(std::future::pending::<Result<(), Error>>()).await else {
            panic!("it never ends")
        };
        let failure = Failure::from(error);
        assert_eq!(failure.class, crate::store::Class::OutageMet, "{failure}");
        assert!(failure.reason.contains("no answer within 1.5s"), "{failure}");
    }
}
