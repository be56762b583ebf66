//! What `devstack dev` tells its services, and the human who tries them.

use std::fs::{self, File};
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use devstack::{Stack, create_database, one_node, port, token};

pub(crate) const INPUT_TOPIC: &str = "events-input";
pub(crate) const DLQ_TOPIC: &str = "events-dlq";

/// The settings of one run.
pub(crate) struct Settings {
    pub(crate) api: String,
    pub(crate) token: String,
    /// What both services read.
    common: Vec<(String, String)>,
    secret: String,
    api_port: u16,
    api_ops_port: u16,
    pub(crate) worker_ops_port: u16,
    postgres_port: u16,
    redis_port: u16,
}

type Env = Vec<(String, String)>;

impl Settings {
    /// Creates the database `app`, a secret and a token signed with it.
    pub(crate) fn new(stack: &Stack, api_port: u16) -> anyhow::Result<Settings> {
        let endpoints = stack.endpoints();
        let database = create_database(&endpoints.postgres_url, "app")?;
        let secret = random_secret()?;
        let lifetime = Duration::from_secs(12 * 3600);
        let mut common = pairs(&[
            ("KAFKA_BROKERS", &endpoints.kafka_brokers),
            ("KAFKA_INPUT_TOPIC", INPUT_TOPIC),
            ("KAFKA_DLQ_TOPIC", DLQ_TOPIC),
            ("KAFKA_GROUP", "events-processor"),
            ("DATABASE_URL", &database),
            ("REDIS_URL", &endpoints.redis_url),
        ]);
        common.extend(one_node());
        Ok(Settings {
            api: format!("http://127.0.0.1:{api_port}"),
            token: token::hs256(&secret, "dev", &["admin"], &[], lifetime)?,
            common,
            secret,
            api_port,
            api_ops_port: port::prefer(Some(9100)),
            worker_ops_port: port::prefer(Some(9101)),
            postgres_port: stack.postgres.port,
            redis_port: stack.redis.port,
        })
    }

    pub(crate) fn for_worker(&self) -> Env {
        self.service(self.worker_ops_port, &[])
    }

    pub(crate) fn for_api(&self) -> Env {
        let bind = format!("127.0.0.1:{}", self.api_port);
        self.service(
            self.api_ops_port,
            &[
                ("API_BIND", &bind),
                ("JWT_SECRET", &self.secret),
                ("JWT_DEVICE_BINDING", "claimed"),
                // No load balancer has to notice that it ends.
                ("DRAIN_DELAY", "0s"),
            ],
        )
    }

    fn service(&self, ops_port: u16, more: &[(&str, &str)]) -> Env {
        let ops = format!("127.0.0.1:{ops_port}");
        let level = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".to_owned());
        let mut env = self.common.clone();
        env.extend(pairs(&[("OPS_BIND", &ops), ("LOG_FORMAT", "pretty"), ("RUST_LOG", &level)]));
        env.extend(pairs(more));
        if !std::io::stdout().is_terminal() {
            env.extend(pairs(&[("NO_COLOR", "1")]));
        }
        env
    }

    /// Writes the file that a shell reads to have all of this at hand.
    pub(crate) fn write(&self, file: &Path) -> anyhow::Result<()> {
        let mut env = pairs(&[
            ("API", &self.api),
            ("TOKEN", &self.token),
            ("JWT_SECRET", &self.secret),
            ("PGHOST", "127.0.0.1"),
            ("PGPORT", &self.postgres_port.to_string()),
            ("PGUSER", "postgres"),
            ("PGDATABASE", "app"),
            ("REDIS_PORT", &self.redis_port.to_string()),
        ]);
        env.extend(self.common.iter().cloned());
        let text: String =
            env.iter().map(|(key, value)| format!("export {key}='{}'\n", value.replace('\'', r"'\''"))).collect();
        // Made anew, so that its rights are these whoever made the last one.
        let _ = fs::remove_file(file);
        File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(file)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// The calls to try, ready to be pasted into any terminal.
    pub(crate) fn calls(&self, file: &Path, binaries: &Path) -> String {
        let Settings { api, token, .. } = self;
        let (postgres, redis) = (self.postgres_port, self.redis_port);
        format!(
            r#"token: {token}

# send an event
curl -sS -X POST {api}/events -H 'authorization: Bearer {token}' -H 'content-type: application/json' -d '{{"device_id": "device-123", "payload": {{"status": "online", "temp_c": 37.2}}}}'

# read what became of the device, some milliseconds later
sleep 1
curl -sS {api}/resource/device-123 -H 'authorization: Bearer {token}'

# look into the database, and into the cache
psql -h 127.0.0.1 -p {postgres} -U postgres -d app -c 'SELECT * FROM resources'
redis-cli -p {redis} GET resource:device-123

# list the dead letters
(. {file} && {worker} dlq list)

# all of these addresses, in your shell
. {file}
"#,
            file = file.display(),
            worker = binaries.join("worker-service").display(),
        )
    }
}

fn pairs(pairs: &[(&str, &str)]) -> Env {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

/// 256 bits from the kernel, as hex.
fn random_secret() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 32];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
