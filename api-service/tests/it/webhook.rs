//! The handshake of CloudEvents' webhooks, as Azure Event Grid starts it.

use crate::prelude::*;

const SENDER: &str = "eventgrid.azure.net";
const PATHS: [&str; 2] = ["/events", "/events/batch"];

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

async fn handshake(app: &TestApp, path: &str, sender: &str) -> Response {
    let request = app.request("OPTIONS", path).header("webhook-request-origin", sender);
    request.header("webhook-request-rate", "120").send().await.unwrap()
}

/// What is granted: the status, the origin, the rate and the methods.
fn granted(answer: &Response) -> (u16, [Option<&str>; 3]) {
    let names = ["webhook-allowed-origin", "webhook-allowed-rate", "allow"];
    (answer.status().as_u16(), names.map(|name| header(answer, name)))
}

#[tokio::test]
async fn a_sender_that_is_listed_may_deliver() {
    let app = TestApp::with("webhook", &["--webhook-allowed-origins=a.example, eventgrid.azure.net"]).await;
    for path in PATHS {
        for sender in [SENDER, "EventGrid.azure.NET"] {
            let answer = handshake(&app, path, sender).await;
            assert_eq!(granted(&answer), (200, [Some(sender), Some("*"), Some("POST")]));
            assert!(header(&answer, "x-request-id").is_some());
            assert_eq!(answer.bytes().await.unwrap().len(), 0);
        }
        // The address of the callback is never called: the answer is complete.
        let callback = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        callback.set_nonblocking(true).unwrap();
        let address = format!("http://{}/confirm?id=1&key=planted", callback.local_addr().unwrap());
        let request = app.request("OPTIONS", path).header("webhook-request-origin", SENDER);
        let answer = request.header("webhook-request-callback", address).send().await.unwrap();
        assert_eq!(granted(&answer), (200, [Some(SENDER), Some("*"), Some("POST")]));
        assert!(callback.accept().is_err());

        for other in ["azure.net", "x.eventgrid.azure.net", "*", "a b"] {
            let answer = handshake(&app, path, other).await;
            assert_eq!(granted(&answer), (405, [None, None, Some("POST")]), "{other}");
            is_refused(answer, 405, "method_not_allowed", None).await;
        }
    }
    // A delivery: an ordinary request, which needs its token.
    let delivery = app.submission(&admin(), EVENT).header("webhook-request-origin", SENDER).send().await.unwrap();
    assert_eq!((delivery.status().as_u16(), header(&delivery, "webhook-allowed-origin")), (202, None));
    let without = app.request("POST", "/events").header("webhook-request-origin", SENDER).body(EVENT);
    is_refused(without.send().await.unwrap(), 401, "invalid_token", None).await;
    // Other routes take no deliveries, and OPTIONS alone is no handshake.
    for path in ["/resource/d", "/health/live"] {
        assert_eq!(granted(&handshake(&app, path, SENDER).await), (405, [None, None, Some("GET,HEAD")]), "{path}");
    }
    assert_eq!(handshake(&app, "/nowhere", SENDER).await.status(), 404);
    let plain = app.request("OPTIONS", "/events").send().await.unwrap();
    assert_eq!(granted(&plain), (405, [None, None, Some("POST")]));
}

#[tokio::test]
async fn the_rate_is_that_of_the_limit_in_requests_a_minute() {
    let settings = ["--webhook-allowed-origins=*", "--rate-limit-events-per-second=2"];
    let app = TestApp::with("webhook_rate", &settings).await;
    for path in PATHS {
        assert_eq!(granted(&handshake(&app, path, "any.example").await), (200, [Some("*"), Some("120"), Some("POST")]));
    }
}

#[tokio::test]
async fn without_the_setting_nobody_is_granted_anything() {
    let app = TestApp::start("webhook_none").await;
    for path in PATHS {
        assert_eq!(granted(&handshake(&app, path, SENDER).await), (405, [None, None, Some("POST")]));
    }
}

#[tokio::test]
async fn cors_answers_every_other_options() {
    let settings = ["--webhook-allowed-origins=eventgrid.azure.net", "--cors-origins=https://a.example"];
    let app = TestApp::with("webhook_cors", &settings).await;
    let answer = handshake(&app, "/events", SENDER).await;
    assert_eq!(granted(&answer), (200, [Some(SENDER), Some("*"), Some("POST")]));
    assert_eq!(granted(&handshake(&app, "/events", "other").await), (405, [None, None, Some("POST")]));
    let preflight = app.request("OPTIONS", "/events").header("origin", "https://a.example");
    let preflight = preflight.header("access-control-request-method", "POST").send().await.unwrap();
    assert_eq!(preflight.status(), 200);
    assert_eq!(header(&preflight, "access-control-allow-origin"), Some("https://a.example"));
    assert_eq!(header(&preflight, "webhook-allowed-origin"), None);
}
