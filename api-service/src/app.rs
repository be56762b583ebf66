//! Builds and runs the service.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::middleware::from_fn;
use futures_util::future::{BoxFuture, join_all};
use shared::runtime::unique::ensure_unique;
use shared::runtime::{lifecycle, ops, telemetry};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::backbone::probes::Probes;
use crate::backbone::tasks::{RunTask, keep_running};
use crate::backbone::{self, Backbone, health};
use crate::config::Config;
use crate::domains::Domains;
use crate::http::server::{self, Cores};
use crate::http::{HttpConfig, Route, cors, docs, layers, openapi, rate, schemas, webhook};
use crate::ingest::producer::Producer;

/// The time for the hooks of all domains together at shutdown, before the pool of PostgreSQL closes.
const HOOKS_TIMEOUT: Duration = Duration::from_secs(5);

/// The service. It connects by itself, and binds no port.
pub struct App {
    pub backbone: Arc<Backbone>,
    pub producers: Vec<Producer>,
    routes: Vec<Route>,
    tasks: Vec<(&'static str, RunTask)>,
    drained: Vec<BoxFuture<'static, ()>>,
    describe: Vec<fn()>,
    /// The paths of the webhook handshake.
    webhooks: Vec<&'static str>,
    /// Whether a domain's commands write events into the outbox.
    writes_outbox: bool,
    events_per_second: u32,
    http: HttpConfig,
    probes: Probes,
    cores: Cores,
}

impl App {
    /// Builds everything; needs no running server.
    pub fn build(config: &Config) -> anyhow::Result<Self> {
        let domains = Domains::of(&config.domains)?;
        let kinds: Vec<_> = domains.declared().flat_map(|domain| domain.kinds).copied().collect();
        let backbone = Backbone::new(&config.backbone, domains.of_tokens(&config.domains), &kinds)?;
        let mut routes = health::routes(Arc::clone(&backbone.health), Arc::clone(&backbone.tokens)).to_vec();
        let describe = domains.declared().map(|domain| domain.describe).collect();
        let described = domains.clone();
        // Built on the first request: that needs some MiB for a moment.
        routes.extend(docs::routes(move || openapi::text(&described.document())));
        // Of all domains: a schema's address leads to any instance.
        routes.extend(schemas::routes(&Domains::all().published()));
        let (mut producers, mut tasks, mut drained, mut webhooks) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut writes_outbox = false;
        for served in domains.serve(&config.domains, &backbone)? {
            routes.extend(served.routes);
            producers.extend(served.producers);
            tasks.extend(served.task);
            drained.extend(served.drained);
            webhooks.extend(served.webhooks);
            writes_outbox |= served.writes_outbox;
        }
        ensure_unique("routes", routes.iter().map(|(path, _)| *path))?;
        let (http, probes) = (config.backbone.http.clone(), backbone.probes(&producers)?);
        let events_per_second = config.backbone.rates.rate_limit_events_per_second;
        let cores = Cores::start(lifecycle::threads()?)?;
        Ok(Self {
            backbone,
            producers,
            routes,
            tasks,
            drained,
            describe,
            webhooks,
            writes_outbox,
            events_per_second,
            http,
            probes,
            cores,
        })
    }

    /// The paths of all routes.
    pub fn paths(&self) -> Vec<&'static str> {
        self.routes.iter().map(|(path, _)| *path).collect()
    }

    /// Every route, and the layers around them.
    pub fn router(&self) -> Router {
        let all = self.routes.iter().cloned();
        let routes = all.fold(Router::new(), |router, (path, answers)| router.route(path, answers));
        let limited = self.backbone.rates.any();
        let routes = if limited { routes.layer(from_fn(rate::announce)) } else { routes };
        // Each costs a request some boxes, so only what is set is there.
        let routes = match &self.http.cors_origins {
            Some(origins) => cors::allowed(routes, origins),
            None => routes,
        };
        let routes = match &self.http.webhook_allowed_origins {
            Some(senders) => webhook::answered(routes, senders, &self.webhooks, self.events_per_second),
            None => routes,
        };
        layers::layered(routes, self.backbone.ingest.access_log)
    }

    /// Binds both ports and serves until the signal.
    pub async fn serve(self, config: &Config, termination: impl Future<Output = &'static str>) -> anyhow::Result<()> {
        let metrics = telemetry::start_metrics()?;
        backbone::describe();
        self.describe.iter().for_each(|describe| describe());
        for producer in &self.producers {
            // Its counters start at 0, too.
            producer.counters();
        }
        let internal = config.ops.bind;
        let internal = TcpListener::bind(internal).await.with_context(|| format!("OPS_BIND={internal}"))?;
        let public = config.backbone.http.bind;
        let listener = server::listen(public).with_context(|| format!("API_BIND={public}"))?;
        tracing::info!(address = %listener.local_addr()?, internal = %internal.local_addr()?, "listening");

        let (health, tokens) = (Arc::clone(&self.backbone.health), Arc::clone(&self.backbone.tokens));
        let report = move || std::future::ready(health::report(&health, &tokens));
        tokio::spawn(ops::serve(internal, metrics, report));
        self.run(listener, async {
            // Not inside the macro, which does not evaluate its values if the line is not logged.
            let signal = termination.await;
            tracing::info!(signal, "shutting down");
        })
        .await;
        telemetry::traces::stop().await;
        tracing::info!("ended");
        Ok(())
    }

    /// Serves until `shutdown` completes, and returns when every accepted event is settled.
    pub async fn run(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let routers = self.cores.runtimes().map(|_| self.router()).collect();
        let Self { backbone, producers, tasks, drained, writes_outbox, http, probes, cores, .. } = self;
        for runtime in cores.runtimes() {
            let backbone = Arc::clone(&backbone);
            runtime.spawn(async move { backbone.attend() });
        }
        let tasks: Vec<_> = tasks.into_iter().map(|(name, run)| tokio::spawn(keep_running(name, run))).collect();
        let probes = tokio::spawn(probes.run());
        let tokens = Arc::clone(&backbone.tokens);
        let keys = tokio::spawn(async move { tokens.source.run().await });
        let fencer = backbone.fencer.clone();
        let fences = tokio::spawn(async move { fencer.run().await });
        let (doorbell, outbox) = (backbone.doorbell.clone(), backbone.outbox.clone());
        let rings = tokio::spawn(async move { doorbell.run().await });
        // A role that may only read devices may not count its rows.
        let counts = writes_outbox.then(|| tokio::spawn(async move { outbox.run().await }));
        let ending = async {
            shutdown.await;
            // Before the listener closes, so that load balancers stop sending requests.
            backbone.end();
        };
        let connections = server::serve(listener, &cores, routers, &http, ending).await;
        // A body that is still on its way would not be complete before the process ends.
        backbone.ingest.bodies.end();
        // No request waits for an acknowledgement any more, so the queue empties soon.
        producers.iter().for_each(Producer::close);
        // Concurrently: each may take its whole message timeout.
        join_all(producers.iter().map(Producer::flush)).await;
        // Requests that waited for an acknowledgement until now are answered before their connections end.
        connections.close().await;
        for task in tasks.into_iter().chain([probes, keys, fences, rings]).chain(counts) {
            task.abort();
        }
        let drained = timeout(HOOKS_TIMEOUT, join_all(drained));
        let (drained, are_fenced) = tokio::join!(drained, backbone.fencer.finish(HOOKS_TIMEOUT));
        if drained.is_err() {
            tracing::error!("the domains did not finish in time what they do at the end");
        }
        if !are_fenced {
            tracing::error!(
                "Redis did not take every fence: what was changed here may be read as it was until CACHE_TTL ends"
            );
        }
        backbone.store.close().await;
        // What is used above may be driven by them.
        drop(cores);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::body::Body;
    use axum::extract::Request;
    use axum::http::header;
    use clap::Parser;
    use http_body_util::BodyExt as _;
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::json;
    use tokio::sync::oneshot;
    use tower::ServiceExt;

    use super::*;
    use crate::http::problem::Code;

    const SECRET: &str = "a secret that is long enough for this";

    /// The app with these settings, without servers.
    fn app(more: &[&str]) -> App {
        let settings = ["api-service", "--kafka-brokers", "127.0.0.1:1", "--jwt-secret", SECRET];
        let stores = ["--database-url", "postgres://127.0.0.1:1/x", "--redis-url", "redis://127.0.0.1:1"];
        let all = settings.iter().chain(&stores).chain(more);
        App::build(&Config::try_parse_from(all).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_domains_task_runs_beside_the_routes_and_its_hook_is_awaited_at_the_end() {
        let mut app = app(&["--drain-delay", "0s"]);
        let (began, begins) = oneshot::channel();
        // Dropped together with the task.
        let (runs, mut ended) = oneshot::channel::<()>();
        let mut parts = vec![Some((runs, began)), None];
        let parts = Mutex::new(std::iter::from_fn(move || parts.pop()));
        let run = move || -> BoxFuture<'static, ()> {
            let next = parts.lock().unwrap().next().flatten();
            Box::pin(async move {
                let (_runs, began) = next.expect("the first time it panics");
                began.send(()).unwrap();
                std::future::pending().await
            })
        };
        app.tasks.push(("task", Box::new(run)));
        let (hook, hooked) = oneshot::channel();
        app.drained.push(Box::pin(async move {
            let task_has_ended = timeout(Duration::from_secs(30), &mut ended).await.is_ok();
            hook.send(task_has_ended).unwrap();
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let end = app.run(listener, async { begins.await.expect("the task runs") });
        timeout(Duration::from_secs(60), end).await.expect("it ends by itself");
        assert_eq!(hooked.await, Ok(true), "the hook comes behind the task, and is awaited");
    }

    /// The role that may only read devices has no right to do it.
    #[tokio::test]
    async fn only_an_instance_whose_commands_write_into_the_outbox_counts_its_rows() {
        for (domains, expected) in [
            ("devices", false),
            ("validation", false),
            ("devices,validation", false),
            ("ads", true),
            ("placements", true),
            ("devices,ads", true),
        ] {
            assert_eq!(app(&["--api-domains", domains]).writes_outbox, expected, "{domains}");
        }
        assert!(app(&[]).writes_outbox);
    }

    /// PostgreSQL would take two seconds to fail.
    #[tokio::test]
    async fn a_read_has_the_time_of_a_request_and_no_more() {
        let routes = app(&["--request-timeout", "50ms", "--redis-timeout", "10ms"]).router();
        let claims = json!({"sub": "test", "roles": ["admin"], "exp": 4_000_000_000_u64});
        let token = encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap();
        for path in ["/resource/device", "/resource/device/events", "/resources"] {
            let bearer = format!("Bearer {token}");
            let request = Request::get(path).header(header::AUTHORIZATION, bearer).body(Body::empty()).unwrap();
            let answer = timeout(Duration::from_secs(30), routes.clone().oneshot(request)).await;
            let answer = answer.expect("it ends by itself").unwrap();
            assert_eq!(answer.status(), 503, "{path}");
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(problem["code"], Code::TIMED_OUT.as_str(), "{path}");
        }
    }
}
