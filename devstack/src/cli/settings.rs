//! The settings that `devstack dev` gives to its services and prints for the user.
//!
//! The environment overrides them, except for addresses: the servers and ports are our own.

use std::env;
use std::fs::{self, File};
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use devstack::token::{Claims, Signer, first_audience};
use devstack::{Postgres, psql};

use super::ports::Taken;
use super::steps::say;

/// The services' PostgreSQL user: the owner of one database, not a superuser.
const USER: &str = "appuser";
const PASSWORD: &str = "apppass";
const DATABASE: &str = "appdb";

const SECRET: &str = "JWT_SECRET";
const SECRET_ALGORITHM: &str = "JWT_SECRET_ALGORITHM";
/// Settings that say what tokens have to be like, if they are set.
const OF_TOKENS: [&str; 3] = ["JWT_ISSUER", "JWT_AUDIENCE", SECRET_ALGORITHM];
const CACHE_PREFIX: &str = "CACHE_KEY_PREFIX";
/// Where the files of videos are: a folder that both services see.
const FILES: &str = "FILES_URL";
/// Defaults for both services, and for commands in the user's shell.
const COMMON: [(&str, &str); 5] = [
    ("KAFKA_INPUT_TOPIC", "events-input"),
    ("KAFKA_DLQ_TOPIC", "events-dlq"),
    ("KAFKA_GROUP", "events-processor"),
    // There is only one broker.
    ("TOPIC_REPLICATION", "1"),
    ("TOPIC_MIN_INSYNC_REPLICAS", "1"),
];
/// Log settings for a person who watches: a line for every request and every event.
const LOG: [(&str, &str); 2] = [("LOG_FORMAT", "pretty"), ("ACCESS_LOG", "all")];
const API: [(&str, &str); 7] = [
    // Not secret, because README.md shows it; and too short for any other use.
    (SECRET, "local-dev-secret"),
    ("JWT_ALLOW_SHORT_SECRET", "true"),
    ("JWT_DEVICE_BINDING", "claimed"),
    ("INTERNAL_JWT_SECRET", "local-dev-secret-between-services"),
    // The walk of advertising in README.md has no token.
    ("ADS_ANONYMOUS_ROLES", "advertiser,tracker"),
    // Pages under development are served from this machine, on any port.
    ("CORS_ORIGINS", "localhost"),
    // There is no load balancer that must notice the shutdown.
    ("DRAIN_DELAY", "0s"),
];

/// Variables that the services must not inherit: addresses, logins, and libpq's variables, which would
/// add to them.
pub(crate) const FOREIGN: [&str; 31] = [
    "DATABASE_URL",
    "DATABASE_POOLER",
    "KAFKA_BROKERS",
    "KAFKA_SECURITY_PROTOCOL",
    "KAFKA_SASL_MECHANISM",
    "KAFKA_SASL_USERNAME",
    "KAFKA_SASL_PASSWORD",
    "KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL",
    "KAFKA_SASL_OAUTHBEARER_CLIENT_ID",
    "KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET",
    "KAFKA_SASL_OAUTHBEARER_SCOPE",
    "KAFKA_SASL_OAUTHBEARER_EXTENSIONS",
    "KAFKA_SSL_CA_LOCATION",
    "KAFKA_SSL_CA_PEM",
    "KAFKA_SSL_CERTIFICATE_LOCATION",
    "KAFKA_SSL_CERTIFICATE_PEM",
    "KAFKA_SSL_KEY_LOCATION",
    "KAFKA_SSL_KEY_PEM",
    "KAFKA_SSL_KEY_PASSWORD",
    "REDIS_URL",
    "AD_REDIS_URL",
    "REDIS_CLUSTER",
    "REDIS_TLS_CA",
    "VALIDATION_URL",
    "API_BIND",
    "OPS_BIND",
    "PGSSLMODE",
    "PGSSLROOTCERT",
    "PGSSLCERT",
    "PGSSLKEY",
    "PGOPTIONS",
];

type Env = Vec<(String, String)>;

pub(crate) struct Settings {
    ports: Taken,
    addresses: Env,
    common: Env,
    log: Env,
    api: Env,
}

impl Settings {
    /// `files` is the folder for the files of videos, unless the environment has another place for them.
    pub(crate) fn new(ports: Taken, files: &Path) -> anyhow::Result<Settings> {
        let environment = |name: &str| {
            env::var_os(name)
                .map(|value| value.into_string().ok().with_context(|| format!("{name} is not text")))
                .transpose()
        };
        let devstack::Ports { kafka, postgres, redis } = ports.servers;
        let addresses = [
            ("KAFKA_BROKERS", format!("127.0.0.1:{kafka}")),
            ("DATABASE_URL", format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{postgres}/{DATABASE}")),
            ("REDIS_URL", format!("redis://127.0.0.1:{redis}")),
            ("AD_REDIS_URL", format!("redis://127.0.0.1:{}", ports.ad_redis)),
        ];
        let or = |ours: &[(&str, &str)]| -> anyhow::Result<Env> {
            let each = ours.iter().map(|(name, value)| {
                Ok(((*name).to_owned(), environment(name)?.unwrap_or_else(|| (*value).to_owned())))
            });
            each.collect()
        };
        let (mut common, mut api) = (or(&COMMON)?, or(&API)?);
        common.extend(environment(CACHE_PREFIX)?.map(|prefix| (CACHE_PREFIX.to_owned(), prefix)));
        let files =
            reqwest::Url::from_file_path(files).ok().with_context(|| format!("{} is not absolute", files.display()));
        common.push((FILES.to_owned(), environment(FILES)?.map_or_else(|| files.map(String::from), Ok)?));
        for name in OF_TOKENS {
            api.extend(environment(name)?.map(|value| (name.to_owned(), value)));
        }
        Ok(Settings {
            ports,
            addresses: addresses.map(|(name, value)| (name.to_owned(), value)).into(),
            common,
            log: or(&LOG)?,
            api,
        })
    }

    /// Prints the environment variables that are ignored, except those with the same value as ours.
    pub(crate) fn tell_foreign(&self) {
        let is_other = |name: &&&str| {
            let ours = self.addresses.iter().find(|(known, _)| known == **name);
            env::var_os(name).is_some_and(|value| ours.is_none_or(|(_, ours)| value != ours.as_str()))
        };
        let foreign: Vec<_> = FOREIGN.iter().filter(|name| !name.starts_with("PG")).filter(is_other).copied().collect();
        if !foreign.is_empty() {
            let names = foreign.join(", ");
            say(&format!("not used, for the servers and their addresses are devstack's own: {names}"));
        }
    }

    pub(crate) fn create_database(&self, postgres: &Postgres) -> anyhow::Result<()> {
        let url = postgres.url();
        psql(&url, &format!("CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'"))?;
        // Not template1: CREATE DATABASE fails while anyone is connected to its template.
        psql(&url, &format!("CREATE DATABASE {DATABASE} OWNER {USER} TEMPLATE template0"))?;
        Ok(())
    }

    pub(crate) fn group(&self) -> &str {
        find(&self.common, "KAFKA_GROUP")
    }

    pub(crate) fn for_worker(&self) -> Env {
        self.service(self.ports.worker_ops, vec![])
    }

    pub(crate) fn for_api(&self) -> Env {
        let own = [
            ("API_BIND", format!("127.0.0.1:{}", self.ports.api)),
            // Drafts are validated by the service for that: itself, called as another instance would be.
            ("VALIDATION_URL", self.api()),
        ];
        let own = own.map(|(name, value)| (name.to_owned(), value));
        self.service(self.ports.api_ops, [self.api.clone(), own.into()].concat())
    }

    fn service(&self, ops_port: u16, more: Env) -> Env {
        let mut env = [self.addresses.clone(), self.common.clone(), self.log.clone(), more].concat();
        env.push(("OPS_BIND".to_owned(), format!("127.0.0.1:{ops_port}")));
        if !std::io::stdout().is_terminal() {
            env.push(("NO_COLOR".to_owned(), "1".to_owned()));
        }
        env
    }

    pub(crate) fn api(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.api)
    }

    /// A token with all rights that the API with these settings accepts.
    pub(crate) fn token(&self) -> anyhow::Result<String> {
        let mut claims = Claims::new("dev", &["admin"], &[], Duration::from_secs(12 * 3600))?;
        let set = |name| Some(find(&self.api, name)).filter(|value| !value.is_empty());
        (claims.iss, claims.aud) = (set("JWT_ISSUER"), set("JWT_AUDIENCE").map(first_audience));
        Signer::hmac(set(SECRET_ALGORITHM).unwrap_or("HS256"), find(&self.api, SECRET))?.sign(&claims)
    }

    /// Writes the file `env` with these settings for the user's shell.
    pub(crate) fn write(&self, file: &Path, token: &str) -> anyhow::Result<()> {
        let (postgres, redis) = (self.ports.servers.postgres.to_string(), self.ports.servers.redis.to_string());
        let ad_redis = self.ports.ad_redis.to_string();
        let own = [
            ("API", self.api().as_str()),
            ("TOKEN", token),
            (SECRET, find(&self.api, SECRET)),
            ("PGHOST", "127.0.0.1"),
            ("PGPORT", &postgres),
            ("PGUSER", USER),
            ("PGPASSWORD", PASSWORD),
            ("PGDATABASE", DATABASE),
            ("REDIS_PORT", &redis),
            ("AD_REDIS_PORT", &ad_redis),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        // For `devstack token`, so that this API accepts its tokens.
        let of_tokens = self.api.iter().filter(|(name, _)| OF_TOKENS.contains(&name.as_str()));
        let env = own.iter().chain(of_tokens).chain(&self.addresses).chain(&self.common);
        let text: String =
            env.map(|(key, value)| format!("export {key}='{}'\n", value.replace('\'', r"'\''"))).collect();
        // Replace the file, so that its mode is the one below even if another user created the old file.
        let _ = fs::remove_file(file);
        File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(file)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("cannot write {}", file.display()))
    }

    pub(crate) fn calls(&self, token: &str, file: &Path, binaries: &Path) -> String {
        let api = self.api();
        let (postgres, redis) = (self.ports.servers.postgres, self.ports.servers.redis);
        format!(
            r#"token: {token}

# send an event
curl -sS -X POST {api}/events -H 'authorization: Bearer {token}' -H 'content-type: application/json' -d '{{"device_id": "device-123", "payload": {{"status": "online", "temp_c": 37.2}}}}'

# read what became of the device, some milliseconds later
sleep 1
curl -sS {api}/resource/device-123 -H 'authorization: Bearer {token}'

# look into the database, and into the cache
PGPASSWORD={PASSWORD} psql -h 127.0.0.1 -p {postgres} -U {USER} -d {DATABASE} -c 'SELECT * FROM resources'
redis-cli -p {redis} GET {prefix}resource:device-123

# list the dead letters
(. {file} && {worker} dlq list)

# all of these addresses, in your shell
. {file}
"#,
            file = file.display(),
            prefix = find(&self.common, CACHE_PREFIX),
            worker = binaries.join("worker-service").display(),
        )
    }
}

fn find<'a>(env: &'a Env, name: &str) -> &'a str {
    env.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
}
