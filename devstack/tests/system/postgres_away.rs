//! PostgreSQL is stopped or frozen: log and readiness of both services name the server and the reason.

use crate::prelude::*;

/// The connection pool's own error, whatever is wrong with its server.
const OF_THE_POOL: &str = "pool timed out";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_postgresql_is_named_by_both_services_with_the_server() {
    let settings = [("DATABASE_TIMEOUT", "3s")];
    let system = System::start_with("postgres-named", &[Own::Postgres], &settings).await;
    let worker = system.worker();
    let server = format!("PostgreSQL at 127.0.0.1:{}: ", system.servers.postgres().port);
    system.until("the worker is ready", async || worker.status().await == "ready").await;

    for (number, freeze, words) in [(1, false, &["refused"][..]), (2, true, &["no answer in time", "no answer within"])]
    {
        let told = |text: &Value| {
            text.as_str().is_some_and(|text| text.contains(&server) && words.iter().any(|word| text.contains(word)))
        };
        let postgres = system.servers.postgres();
        if freeze {
            postgres.freeze().unwrap()
        } else {
            postgres.stop().unwrap()
        }
        // There must be an event that waits.
        assert_eq!(system.post("a", &number.to_string(), &json!({"n": number})).await.unwrap().status(), 202);
        let outage = async || told(&worker.health().await["outage"]);
        system.until("the worker's readiness names it, at the top", outage).await;
        assert_eq!(worker.status().await, "waiting out an outage");
        let of_api = async || told(&system.api.dependency("postgres").await["error"]);
        system.until("the API's readiness names it", of_api).await;
        let (_, public) = system.api.public_ready().await;
        assert_eq!(public["dependencies"]["postgres"], json!({"status": "down"}), "the public port names no server");

        let miss = system.get(&format!("never-read-{number}")).await.unwrap();
        assert_eq!(miss.status(), 503);
        let problem = miss.text().await.unwrap();
        assert!(!problem.contains("127.0.0.1"), "{problem}");
        let lines = |log: String, message: &str| -> Vec<Value> {
            json_lines(&log).filter(|line| line["message"] == message).collect()
        };
        // A partition's first error may be the server's shutdown message; the next attempt shows the reason.
        let says = |line: &Value, text: &str| line["error"].as_str().is_some_and(|error| error.contains(text));
        let found = lines(worker.service.log(), "an outage: the partition waits");
        assert!(!found.is_empty());
        assert!(found.iter().all(|line| says(line, &server) || says(line, "SQLSTATE 57P0")), "{found:?}");
        // A partition that has just started may have no records yet.
        let tries =
            ["a batch failed", "cannot find out whether the partition is paused: it takes no records until then"];
        let of_a_try = async || {
            let told = |message: &&str| lines(worker.service.log(), message).iter().any(|line| told(&line["error"]));
            tries.iter().any(told)
        };
        system.until("the worker's log names it", of_a_try).await;
        for message in ["down", "cannot read the resource"] {
            let in_log = async || lines(system.api.service.log(), message).iter().any(|line| told(&line["error"]));
            system.until(&format!("the API's log names it: {message}"), in_log).await;
        }
        if !freeze {
            for command in ["setup", "resume"] {
                let (done, said) = system.command(&[command], &[]).await;
                assert!(!done && said.contains(&server) && !said.contains(OF_THE_POOL), "{command}: {said}");
            }
        }

        if freeze {
            postgres.thaw().unwrap()
        } else {
            postgres.start().unwrap()
        }
        system.until("the worker is well again", async || worker.status().await == "ready").await;
        assert_eq!(worker.health().await["outage"], json!(null));
        system.until("and the event is there", async || system.rows().await == number).await;
        let up = async || system.api.dependency("postgres").await == json!({"status": "up"});
        // Wait for recovery, so that the next fault is reported at once.
        system.until("the API reaches it", up).await;
    }
    for log in [worker.service.log(), system.api.service.log()] {
        assert_eq!(log.lines().find(|line| line.contains(OF_THE_POOL)), None);
    }
    worker.end().await;
}
