//! An open loop: requests at a constant rate, whether or not earlier ones are answered. A latency counts from the time
//! when the request was due, so that all requests that wait behind a stall show it.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use reqwest::{Client, Method, Request, Url};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::load::{Generated, Latency, RESULT};

const TIMEOUT: Duration = Duration::from_secs(30);

/// What is sent, and how often.
#[derive(Debug, clap::Args)]
pub(crate) struct Settings {
    /// Where the bodies go; for paths, what they are relative to.
    url: Url,
    /// A file with one body or one path a line, sent in turn.
    lines: PathBuf,
    /// A file with one token a line: the first request has the first one, and so on, in turn.
    tokens: PathBuf,
    /// Requests a second.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// The most requests at once. Further ones wait, which counts.
    #[arg(long)]
    connections: usize,
    /// Of the bodies; without it, the lines are paths to read.
    #[arg(long)]
    content_type: Option<String>,
}

/// Prints the result as wrk.lua does.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let client = Client::builder().no_proxy().timeout(TIMEOUT).build()?;
    let requests = requests(&client, settings)?;
    // Its own thread sleeps until the next request is due, which a timer of Tokio does only by the millisecond.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let permits = Arc::new(Semaphore::new(settings.connections));
    let (mut running, began) = (JoinSet::new(), Instant::now());
    for (number, request) in (0..settings.rate * settings.seconds).zip(requests.iter().cycle()) {
        let due = began + Duration::from_secs(number.into()) / settings.rate;
        let request = request.try_clone().context("a body that is sent once")?;
        let (client, permits) = (client.clone(), Arc::clone(&permits));
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let answered = async move {
            let _permit = permits.acquire().await?;
            let answer = client.execute(request).await?.error_for_status()?;
            answer.bytes().await?;
            anyhow::Ok(due.elapsed())
        };
        running.spawn_on(answered, runtime.handle());
    }
    let took = runtime.block_on(async {
        let mut took = Vec::with_capacity(running.len());
        while let Some(one) = running.join_next().await {
            took.push(one??);
        }
        anyhow::Ok(took)
    })?;
    let elapsed = began.elapsed();
    let Latency { samples, p50, p99, p999 } = Latency::of(took);
    let result = Generated {
        requests: samples,
        microseconds: elapsed.as_secs_f64() * 1e6,
        failed: 0,
        p50: p50 * 1e3,
        p99: p99 * 1e3,
        p999: p999 * 1e3,
    };
    println!("{RESULT}{}", serde_json::to_string(&result)?);
    Ok(())
}

/// The requests, made before the first one is sent.
fn requests(client: &Client, settings: &Settings) -> anyhow::Result<Vec<Request>> {
    let read = |file: &PathBuf| fs::read_to_string(file).with_context(|| file.display().to_string());
    let (lines, tokens) = (read(&settings.lines)?, read(&settings.tokens)?);
    let made = lines.lines().zip(tokens.lines().cycle()).map(|(line, token)| {
        let request = match &settings.content_type {
            Some(content_type) => {
                let post = client.post(settings.url.clone()).header("content-type", content_type);
                post.body(line.to_owned())
            }
            None => client.request(Method::GET, settings.url.join(line)?),
        };
        Ok(request.bearer_auth(token).build()?)
    });
    let made = made.collect::<anyhow::Result<Vec<_>>>()?;
    ensure!(!made.is_empty(), "{} or {} is empty", settings.lines.display(), settings.tokens.display());
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(lines: &str, tokens: &str, content_type: Option<&str>) -> anyhow::Result<Vec<[String; 4]>> {
        let folder = tempfile::tempdir()?;
        let file = |name: &str, text: &str| {
            let file = folder.path().join(name);
            fs::write(&file, text).map(|()| file)
        };
        let settings = Settings {
            url: "http://127.0.0.1:1/events".parse()?,
            lines: file("lines", lines)?,
            tokens: file("tokens", tokens)?,
            rate: 1,
            seconds: 1,
            connections: 1,
            content_type: content_type.map(str::to_owned),
        };
        let told = |request: &Request| {
            let body = request.body().and_then(|body| body.as_bytes()).unwrap_or_default();
            let token = request.headers().get("authorization").context("no token")?.to_str()?;
            let (method, path) = (request.method().to_string(), request.url().path().to_owned());
            Ok([method, path, token.to_owned(), String::from_utf8(body.to_vec())?])
        };
        requests(&Client::new(), &settings)?.iter().map(told).collect()
    }

    #[test]
    fn the_tokens_take_turns() {
        let posts = made("{1}\n{2}\n{3}\n", "a\nb\n", Some("application/json")).unwrap();
        let post = |token: &str, body: &str| ["POST", "/events", token, body].map(str::to_owned);
        assert_eq!(posts, [post("Bearer a", "{1}"), post("Bearer b", "{2}"), post("Bearer a", "{3}")]);
    }

    #[test]
    fn without_a_content_type_the_lines_are_paths() {
        let reads = made("/resource/a\n/resource/b\n", "t", None).unwrap();
        let read = |path: &str| ["GET", path, "Bearer t", ""].map(str::to_owned);
        assert_eq!(reads, [read("/resource/a"), read("/resource/b")]);
    }

    #[test]
    fn a_file_without_lines_is_named() {
        for (lines, tokens) in [("", "t"), ("/resource/a", "")] {
            let error = made(lines, tokens, None).unwrap_err().to_string();
            assert!(error.contains("/lines or ") && error.ends_with("/tokens is empty"), "{error}");
        }
    }
}
