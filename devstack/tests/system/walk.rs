//! The walk of README.md and the token of docs/api.md, pasted unchanged into a shell beside `devstack dev`.
//!
//! The walk uses the default ports of `make dev`. So the test runs in its own network namespace if that is allowed:
//! then it cannot conflict with a running `make dev` or another test. Otherwise the ports must be free.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::dev::{Dev, own_network, workspace};
use crate::prelude::*;

/// Printed after each pasted piece.
const DONE: &str = "=pasted=";

/// The block of a document with this name in its marker.
fn block(document: &str, name: &str) -> String {
    let text = fs::read_to_string(workspace().join(document)).unwrap();
    let mark = format!("<!-- walk: {name} -->");
    let (_, rest) = text.split_once(&mark).unwrap_or_else(|| panic!("{document} has no {mark}"));
    let block = rest.trim_start().strip_prefix("```sh\n").unwrap_or_else(|| panic!("no block behind {mark}"));
    block.split_once("```").unwrap().0.to_owned()
}

/// A shell for pasted commands.
struct Shell {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Shell {
    fn start(mut command: Command) -> Shell {
        command.args(["--norc", "-c", "exec bash --norc 2>&1"]).current_dir(workspace());
        for variable in ["JWT_TOKEN", "PGPASSWORD", "PGHOST", "PGPORT", "PGUSER", "PGDATABASE"] {
            command.env_remove(variable);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Shell { child, input, output }
    }

    /// Pastes some lines and returns their output. The last line must succeed.
    fn paste(&mut self, lines: &str) -> String {
        writeln!(self.input, "{lines}\necho; echo {DONE} $?").unwrap();
        let mut said = String::new();
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the shell ended: {said}");
            if let Some(status) = line.strip_prefix(DONE) {
                assert_eq!(status.trim(), "0", "{lines}\n{said}");
                return said;
            }
            said.push_str(&line);
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Installs PyJWT from PyPI once, as README.md says, outside the network namespace.
fn get_pyjwt() {
    let python = workspace().join("target/walk/bin/python");
    let is_there = Command::new(python).args(["-c", "import jwt"]).stderr(Stdio::null()).status();
    if !is_there.is_ok_and(|status| status.success()) {
        Shell::start(Command::new("bash")).paste(&block("README.md", "pyjwt"));
    }
}

/// The JSON object in the output that begins like this.
fn object(said: &str, begin: &str) -> Value {
    let at = said.find(begin).unwrap_or_else(|| panic!("no {begin} in {said}"));
    serde_json::Deserializer::from_str(&said[at..]).into_iter::<Value>().next().unwrap().unwrap()
}

/// Pastes the walk of advertising, its second call three times.
fn campaign(shell: &mut Shell) {
    let walk = block("README.md", "ads");
    let [create, event, report] = walk.trim().split("\n\n").collect::<Vec<_>>()[..] else { panic!("{walk}") };
    let campaign = object(&shell.paste(create), "{\"id\"");
    assert_eq!((&campaign["id"], &campaign["state"]), (&1.into(), &"running".into()), "{campaign}");
    for _ in 0..2 {
        let accepted = object(&shell.paste(event), "{\"request_id\"");
        let members = ["status", "campaign_id", "user_id", "event_type", "cost"].map(|name| accepted[name].clone());
        assert_eq!(serde_json::json!(members), serde_json::json!(["accepted", 1, "u1", "impression", "0.01"]));
        assert!(accepted["ts"].as_str().unwrap().starts_with(accepted["day"].as_str().unwrap()), "{accepted}");
    }
    let refused = object(&shell.paste(event), "{\"type\"");
    assert_eq!((&refused["status"], &refused["code"]), (&429.into(), &"frequency_capped".into()), "{refused}");
    let shell = RefCell::new(shell);
    devstack::kit::until_blocking("the report has both", || {
        let report = object(&shell.borrow_mut().paste(report), "{\"version\"");
        report["impressions"] == 2 && report["spend"] == "0.02" && report["remaining"] == "4.98"
    });
}

/// Pastes the walk of placements.
fn placement(shell: &mut Shell) {
    let walk = block("README.md", "placements");
    let [token, made, placed, file, validated] = walk.trim().split("\n\n").collect::<Vec<_>>()[..] else {
        panic!("{walk}")
    };
    shell.paste(token);
    let product = object(&shell.paste(made), "{\"id\"");
    assert_eq!((&product["id"], &product["active"]), (&"mug".into(), &true.into()), "{product}");
    let first = shell.paste(placed);
    let placement = object(&first, "{\"id\"");
    let is_repeat = |said: &str| said.lines().any(|line| line.trim() == "idempotent-replayed: true");
    assert!(first.contains("HTTP/1.1 201 Created") && !is_repeat(&first), "{first}");
    assert_eq!((&placement["startMs"], &placement["files"]["state"]), (&1_000.into(), &"processing".into()));
    let again = shell.paste(placed);
    assert!(is_repeat(&again), "{again}");
    assert_eq!(object(&again, "{\"id\""), placement);
    let shell = RefCell::new(shell);
    devstack::kit::until_blocking("the file has the placement", || {
        let read = shell.borrow_mut().paste(file);
        read.contains("HTTP/1.1 200 OK") && object(&read, "{\"placements\"")["placements"][0]["id"] == placement["id"]
    });
    let report = object(&shell.borrow_mut().paste(validated), "{\"version\"");
    let expected = (&"succeeded".into(), &serde_json::json!([]), &false.into());
    assert_eq!((&report["status"], &report["findings"], &report["stale"]), expected, "{report}");
}

#[test]
fn the_walk_of_the_readme_works_as_it_stands() {
    if own_network().is_none() {
        for port in [8000, 5432, 6379, 9092, 9100, 9101] {
            let is_free = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
            assert!(is_free, "port {port} is taken, and this test may have no network of its own (unshare --net)");
        }
    }
    get_pyjwt();
    // On a busy machine Redis may exceed its default timeout, and a read would then come from PostgreSQL.
    let mut dev = Dev::start("walk", &[("REDIS_TIMEOUT", "2s")]);
    assert_eq!(dev.until_ready(), "http://127.0.0.1:8000");

    let walk = block("README.md", "all");
    let mut pieces = walk.split("\n\n");
    let mut piece = |begin: &str| {
        let piece = pieces.next().unwrap_or_default();
        assert!(piece.contains(begin), "{begin} comes next, not {piece}");
        piece.to_owned()
    };
    let mut shell = Shell::start(dev.beside("bash"));
    shell.paste(&piece("JWT_TOKEN="));

    let accepted = object(&shell.paste(&piece("curl -X POST http://localhost:8000/events ")), "{\"request_id\"");
    let text = |name: &str| accepted[name].as_str().unwrap_or_else(|| panic!("no {name}: {accepted}")).to_owned();
    let (request, event) = (text("request_id"), text("event_id"));
    assert_eq!((text("status").as_str(), accepted.as_object().unwrap().len()), ("accepted", 3), "{accepted}");
    // At this point the reader looks at the other terminal.
    let has = |line: &str, words: &[&str]| words.iter().all(|word| line.contains(word));
    let done = ["worker | ", "Processed message", "device-123", &event, &request, "version=1", "cache="];
    dev.line("the worker has processed it", |line| has(line, &done));
    dev.line("the API has answered it", |line| has(line, &["api | ", "status=202", &request]));

    let read = shell.paste(&piece("curl -i http://localhost:8000/resource/device-123 "));
    let sources: Vec<_> = read.lines().filter_map(|line| line.strip_prefix("cache-status: ")).map(str::trim).collect();
    assert_eq!(sources, ["resource-cache; fwd=miss; stored", "resource-cache; hit"], "{read}");
    assert_eq!(read.matches("HTTP/1.1 200 OK").count(), 2, "{read}");
    let resource = object(&read, "{\"version\"");
    assert_eq!((&resource["version"], &resource["id"]), (&1.into(), &"device-123".into()));
    assert_eq!(resource["payload"], serde_json::json!({"status": "online", "temp_c": 37.2}));

    let table = shell.paste(&piece("psql -h localhost -U appuser -d appdb -c \"SELECT * FROM resources;\""));
    let row = table.lines().find(|line| line.contains("device-123")).unwrap_or_else(|| panic!("no row: {table}"));
    assert!(has(row, &[&event, "\"status\": \"online\"", "37.2"]) && table.contains("(1 row)"), "{table}");
    let cached = shell.paste(&piece("redis-cli -h localhost GET resource:device-123"));
    assert_eq!(object(&cached, "{\"version\""), resource, "{cached}");
    assert_eq!(pieces.next(), None, "the walk ends here");

    // The token of the variant without Python works, too.
    let mut shell = Shell::start(dev.beside("bash"));
    shell.paste(&block("docs/api.md", "openssl"));
    let read = shell.paste("curl -i http://localhost:8000/resource/device-123 -H \"Authorization: Bearer $JWT_TOKEN\"");
    assert!(read.contains("HTTP/1.1 200 OK"), "{read}");

    campaign(&mut shell);
    placement(&mut shell);

    let role = shell.paste(
        "PGPASSWORD=apppass psql -h localhost -U appuser -d appdb -Atc \
         \"SELECT rolsuper, pg_get_userbyid(datdba) FROM pg_roles, pg_database \
         WHERE rolname = current_user AND datname = current_database()\"",
    );
    assert!(role.contains("f|appuser"), "no superuser, and the database's owner: {role}");
    assert!(dev.end().success());
}
