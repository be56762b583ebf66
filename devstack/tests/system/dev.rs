//! `devstack dev` as people run it: in its own network namespace, so that the well-known ports are free
//! whatever else runs on this machine.

use std::fs;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;

use devstack::kit::until_blocking;
use devstack::{asked, port};
use rustix::process::{Pid, Signal, kill_process};

use crate::prelude::*;

/// The file with its output, in its folder.
const SAID: &str = "said.log";

/// Brings up the loopback device, then executes the command.
const LO_UP: &str = "ip link set lo up 2>/dev/null || python3 -c 'import fcntl, socket, struct; \
     fcntl.ioctl(socket.socket(), 0x8914, struct.pack(\"16sh22x\", b\"lo\", 1))' || exit; exec \"$@\"";
/// Variables that a test must not inherit.
const PORTS: [&str; 6] = ["API_PORT", "KAFKA_PORT", "POSTGRES_PORT", "REDIS_PORT", "API_OPS_PORT", "WORKER_OPS_PORT"];
const SETTINGS: [&str; 12] = [
    "JWT_SECRET",
    "JWT_SECRET_ALGORITHM",
    "JWT_ALLOW_SHORT_SECRET",
    "JWT_DEVICE_BINDING",
    "JWT_ISSUER",
    "JWT_AUDIENCE",
    "CORS_ORIGINS",
    "FILES_URL",
    "INTERNAL_JWT_SECRET",
    "ACCESS_LOG",
    "LOG_FORMAT",
    "RUST_LOG",
];

/// The command prefix for a separate network namespace; `None` if that is not allowed here.
pub(crate) fn own_network() -> Option<&'static [&'static str]> {
    static HOW: OnceLock<Option<&'static [&'static str]>> = OnceLock::new();
    const WAYS: [&[&str]; 2] =
        [&["unshare", "--net"], &["unshare", "--user", "--map-current-user", "--keep-caps", "--net"]];
    *HOW.get_or_init(|| {
        WAYS.into_iter().find(|way| {
            let mut command = Command::new(way[0]);
            command.args(&way[1..]).args(["sh", "-c", LO_UP, "sh", "true"]);
            command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
        })
    })
}

/// A running `devstack dev`; dropping it sends a signal to end it.
pub(crate) struct Dev {
    child: Child,
    pub(crate) folder: PathBuf,
}

impl Dev {
    pub(crate) fn start(name: &str, env: &[(&str, &str)]) -> Dev {
        let folder = devstack::target_dir().join("system-logs").join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let mut words = own_network().map(|way| [way, &["sh", "-c", LO_UP, "sh"]].concat()).unwrap_or_default();
        words.push(env!("CARGO_BIN_EXE_devstack"));
        // It dies with this test, however the test ends.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).args(words).arg("dev").arg("--folder").arg(&folder);
        for variable in PORTS.iter().chain(&SETTINGS) {
            command.env_remove(variable);
        }
        command.env("DEVSTACK_BINARIES", devstack::binaries().unwrap()).envs(env.iter().copied());
        let said = File::create(folder.join(SAID)).unwrap();
        command.stdin(Stdio::null()).stdout(said.try_clone().unwrap()).stderr(said);
        Dev { child: command.spawn().unwrap(), folder }
    }

    /// The same; without a network namespace it uses free ports.
    pub(crate) fn start_anywhere(name: &str, env: &[(&str, &str)]) -> Dev {
        if own_network().is_some() {
            return Dev::start(name, env);
        }
        let ports = PORTS.map(|variable| (variable, port::free().to_string()));
        let ports = ports.iter().map(|(variable, port)| (*variable, port.as_str()));
        Dev::start(name, &ports.chain(env.iter().copied()).collect::<Vec<_>>())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A command in its network namespace.
    pub(crate) fn beside(&self, program: &str) -> Command {
        let Some(way) = own_network() else { return Command::new(program) };
        let mut command = Command::new("nsenter");
        command.arg("--target").arg(self.pid().to_string()).arg("--net");
        if way.contains(&"--user") {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.arg("--").arg(program);
        command
    }

    /// Its complete lines so far.
    pub(crate) fn said(&self) -> String {
        let said = fs::read_to_string(self.folder.join(SAID)).unwrap();
        said[..said.rfind('\n').map_or(0, |end| end + 1)].to_owned()
    }

    pub(crate) fn line(&self, what: &str, is: impl Fn(&str) -> bool) -> String {
        let found = || self.said().lines().find(|line| is(line)).map(str::to_owned);
        until_blocking(&format!("{what} (see {SAID} in {})", self.folder.display()), || found().is_some());
        found().unwrap()
    }

    pub(crate) fn until_ready(&self) -> String {
        let line = self.line("it is ready", |line| line.starts_with("ready: ") || line.contains(" ended by itself ("));
        line.strip_prefix("ready: ").unwrap_or_else(|| panic!("{}", self.said())).to_owned()
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let ended = asked(TEST_TIMEOUT, Duration::from_millis(20), || Ok(self.child.try_wait()?)).unwrap();
        ended.unwrap_or_else(|| panic!("it does not end (see {SAID} in {})", self.folder.display()))
    }

    /// Sends SIGINT, as Ctrl-C does, and waits.
    pub(crate) fn end(&mut self) -> ExitStatus {
        signal(self.pid(), Signal::INT);
        self.wait()
    }

    /// The pid of its server or service whose command line contains these words.
    fn process(&self, words: &str) -> Option<u32> {
        fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<u32>().ok()?;
            let command = fs::read(entry.path().join("cmdline")).ok()?;
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            (parent == self.pid() && command.contains(words)).then_some(pid)
        })
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            signal(self.pid(), Signal::TERM);
            let _ = self.child.wait();
        }
    }
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

/// Kills this process; returns the output about it.
fn killed(dev: &mut Dev, words: &str) -> String {
    let pid = dev.process(words).unwrap_or_else(|| panic!("no process {words}"));
    signal(pid, Signal::KILL);
    let status = dev.wait();
    assert_eq!(status.code(), Some(1), "{}", dev.said());
    dev.said()
}

/// The output names the killed process at once, with its last log lines, of which one is among these, and again at the
/// end.
#[track_caller]
fn assert_blamed(said: &str, name: &str, last: &[&str]) {
    let blame = format!("devstack: {name} ended by itself (signal: 9 (SIGKILL))");
    let at = said.find(&format!("{blame}; its last lines:\n")).unwrap_or_else(|| panic!("not blamed: {said}"));
    let rest = &said[at..];
    assert!(last.iter().any(|line| rest.contains(line)), "its last lines: {rest}");
    assert!(rest.lines().skip(1).any(|line| line == blame), "in the end: {rest}");
}

#[test]
fn a_server_or_a_service_that_dies_is_named_with_its_last_lines() {
    let cases = [
        ("Kafka", "kafka.Kafka", &["The group has 1 members"][..]),
        // Each of the services' connections may have said that its postmaster is gone.
        ("PostgreSQL", "bin/postgres ", &["ready to accept connections", "unexpected postmaster exit"]),
        ("Redis", "redis-server ", &["eady to accept connections"]),
        ("api-service", "api-service", &["listening"]),
        ("worker-service", "worker-service", &["ads-processor", "placement-"]),
    ];
    // Each case starts all servers, so run only a few at a time.
    for some in cases.chunks(2) {
        std::thread::scope(|scope| {
            for (name, words, last) in some {
                scope.spawn(move || {
                    let mut dev = Dev::start_anywhere(&format!("dev-without-{name}"), &[]);
                    dev.until_ready();
                    assert_blamed(&killed(&mut dev, words), name, last);
                });
            }
        });
    }
}

#[test]
fn a_server_that_dies_while_the_others_start_is_named_too() {
    // The tables are created as soon as PostgreSQL answers, which takes a while.
    let mut dev = Dev::start_anywhere("dev-start", &[]);
    dev.line("PostgreSQL answers", |line| line.contains("PostgreSQL answers"));
    let said = killed(&mut dev, "bin/postgres ");
    assert!(said.contains("PostgreSQL ended by itself (signal: 9 (SIGKILL)); its last lines:\n"), "{said}");
    assert!(said.contains("database system is ready to accept connections"), "{said}");
    assert!(!said.contains("ready: "), "{said}");
}

#[test]
fn settings_come_from_the_environment_and_addresses_do_not() {
    let env = [
        ("JWT_SECRET", "short and mine"),
        ("JWT_SECRET_ALGORITHM", "HS384"),
        ("JWT_ISSUER", "us"),
        ("JWT_AUDIENCE", "api,web"),
        ("LOG_FORMAT", "json"),
        ("RATE_LIMIT_READS_PER_SECOND", "7"),
        ("CACHE_KEY_PREFIX", "mine:"),
        ("DATABASE_URL", "postgres://elsewhere.invalid/x"),
        ("KAFKA_SECURITY_PROTOCOL", "SASL_SSL"),
        ("API_BIND", "0.0.0.0:1"),
        ("VALIDATION_URL", "http://elsewhere.invalid"),
        ("PGSSLMODE", "verify-full"),
    ];
    let mut dev = Dev::start_anywhere("dev-settings", &env);
    let api = dev.until_ready();
    let said = dev.line("what is not used", |line| line.contains("not used"));
    assert!(said.ends_with(": DATABASE_URL, KAFKA_SECURITY_PROTOCOL, VALIDATION_URL, API_BIND"), "{said}");
    let token = dev.line("the token", |line| line.starts_with("token: "));
    let token = token.trim_start_matches("token: ");

    let ask = |token: &str| {
        let mut curl = dev.beside("curl");
        curl.args(["-sSi", &format!("{api}/resource/none"), "-H", &format!("authorization: Bearer {token}")]);
        String::from_utf8(curl.output().unwrap().stdout).unwrap()
    };
    let answer = ask(token);
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("\"reads\";q="), "its own token: {answer}");
    let known = devstack::token::hs256("local-dev-secret", "s", &["user"], &[], Duration::from_secs(60)).unwrap();
    assert!(ask(&known).starts_with("HTTP/1.1 401 "), "the secret that everybody knows is not good here");
    assert_eq!(redis(&dev, &["EXISTS", "mine:resource:none"]), "1");
    let preflight = |origin: &str| {
        let mut curl = dev.beside("curl");
        curl.args(["-sSi", "-X", "OPTIONS", &format!("{api}/events"), "-H", &format!("origin: {origin}")]);
        let answer = curl.args(["-H", "access-control-request-method: POST"]).output().unwrap();
        String::from_utf8(answer.stdout).unwrap()
    };
    let mine = preflight("http://localhost:5173");
    assert!(mine.contains("access-control-allow-origin: http://localhost:5173\r\n"), "a page of this machine: {mine}");
    let other = preflight("https://elsewhere.invalid");
    assert!(!other.contains("access-control-allow-origin"), "and of no other: {other}");
    all_roles_run(&dev, &api, token);
    for log in ["api.log", "worker.log"] {
        assert!(fs::read_to_string(dev.folder.join(log)).unwrap().starts_with('{'), "{log}");
    }
    assert!(dev.end().success());
}

/// A command has its files, and a draft is validated by a call of the service for that, which is the API itself.
fn all_roles_run(dev: &Dev, api: &str, token: &str) {
    let call = |method: &str, path: &str, body: &str| {
        let mut curl = dev.beside("curl");
        curl.args(["-sS", "-X", method, &format!("{api}{path}"), "-H", &format!("authorization: Bearer {token}")]);
        if !body.is_empty() {
            curl.args(["-H", "content-type: application/json", "-d", body]);
        }
        let answer = curl.output().unwrap().stdout;
        serde_json::from_slice::<serde_json::Value>(&answer).unwrap()
    };
    let video = call("POST", "/videos", r#"{"title":"film","durationMs":60000}"#);
    let id = video["id"].as_str().unwrap_or_else(|| panic!("{video}"));
    let draft = format!(r#"{{"videoId":"{id}","productId":"mug","startMs":0,"endMs":1000}}"#);
    let checked = call("POST", "/placements/check", &draft);
    assert_eq!((&checked["findings"][0]["code"], &checked["revision"]), (&"product_missing".into(), &1.into()));
    let file = || call("GET", &format!("/videos/{id}/files/placements.json"), "");
    until_blocking("its files are made", || file()["video"]["title"] == "film");
    assert!(dev.folder.join("files").is_dir());
}

fn redis(dev: &Dev, command: &[&str]) -> String {
    let env = fs::read_to_string(dev.folder.join("env")).unwrap();
    let port = env.lines().find_map(|line| line.strip_prefix("export REDIS_PORT=")).unwrap().trim_matches('\'');
    let output = dev.beside("redis-cli").args(["-p", port]).args(command).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}
