//! The life of the service: serve until told to end, drain, flush, let go.

use std::future::Future;

use tokio::net::TcpListener;

use crate::app::App;
use crate::{probes, server};

/// Serves until `shutdown` comes, and returns when everything that was accepted is settled.
pub async fn run(app: App, listener: TcpListener, shutdown: impl Future<Output = ()>) {
    let probes = tokio::spawn(probes::run(app.clone()));
    let keys = tokio::spawn({
        let app = app.clone();
        async move { app.tokens.source.run().await }
    });
    let ending = async {
        shutdown.await;
        // Before the listener closes: who asks must not be sent here any more.
        app.health.end();
    };
    let connections = server::serve(listener, app.router(), app.limits, ending).await;
    // Only now does nobody wait for an acknowledgement, so nothing is in the queue for long.
    app.producer.close();
    app.producer.flush().await;
    // A request that waited for an acknowledgement until now is answered before its connection ends.
    connections.close().await;
    probes.abort();
    keys.abort();
    app.store.close().await;
}
