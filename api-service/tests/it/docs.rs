//! The document and the page, as a browser receives them.

use std::io::Read as _;

use api_service::domains::Domains;
use api_service::http::openapi;
use flate2::read::GzDecoder;
use reqwest::header::HeaderMap;

use crate::prelude::*;

/// A body as text, decompressed if necessary.
fn text(headers: &HeaderMap, body: &[u8]) -> String {
    if !headers.contains_key("content-encoding") {
        return String::from_utf8(body.to_vec()).unwrap();
    }
    let mut text = String::new();
    GzDecoder::new(body).read_to_string(&mut text).unwrap();
    text
}

#[tokio::test]
async fn the_page_and_all_that_it_asks_for() {
    let app = TestApp::start("docs").await;
    let page = app.request("GET", "/docs").send().await.unwrap();
    assert_eq!(
        (page.status().as_u16(), page.headers()["content-type"].to_str().unwrap()),
        (200, "text/html; charset=utf-8")
    );
    let page = page.text().await.unwrap();
    assert!(!page.contains("//"), "from nowhere else: {page}");
    let own: Vec<_> = page.split('"').filter(|text| text.starts_with('/')).collect();
    assert_eq!(own, ["/docs/swagger-ui.css", "/docs/page.css", "/docs/swagger-ui-bundle.js", "/docs/start.js"]);
    for path in own.into_iter().chain(["/docs", "/openapi.json"]) {
        let first = app.request("GET", path).send().await.unwrap();
        let (status, headers, body) = checked(first).await;
        assert_eq!((status, headers["x-content-type-options"].to_str().unwrap()), (200, "nosniff"), "{path}");
        let text = text(&headers, &body);
        let is_ours = ["SwaggerUIBundle", ".swagger-ui", "<title>Events</title>", r#""title":"Events""#];
        assert!(is_ours.iter().any(|own| text.contains(own)), "{path}");

        let again = app.request("GET", path).header("if-none-match", &headers["etag"]).send().await.unwrap();
        assert_eq!(checked(again).await.0, 304, "{path}");
    }
    let document: Value = app.request("GET", "/openapi.json").send().await.unwrap().json().await.unwrap();
    assert_eq!(document, Domains::all().document());
    let sent = app.request("GET", "/openapi.json").send().await.unwrap().text().await.unwrap();
    assert_eq!(sent, openapi::text(&Domains::all().document()), "in its order");
    let none = problem(app.request("GET", "/docs/none.js").send().await.unwrap()).await;
    assert_eq!(none["code"], "not_found");
}

#[tokio::test]
async fn the_page_of_events_is_served_as_it_is() {
    let app = TestApp::start("docs_events").await;
    let page = app.request("GET", "/docs/events").send().await.unwrap();
    assert_eq!(page.headers()["content-type"], "text/markdown; charset=utf-8");
    let (status, _, body) = checked(page).await;
    assert_eq!(status, 200);
    assert_eq!(body, include_str!("../../../docs/events.md").as_bytes());
}

/// The page's rules for phones use classes of Swagger UI, which an update may rename.
#[tokio::test]
async fn every_class_that_the_pages_own_style_names_is_one_of_swagger_uis() {
    let app = TestApp::start("docs_style").await;
    let get = async |file: &str| {
        let (_, headers, body) = checked(app.request("GET", &format!("/docs/{file}")).send().await.unwrap()).await;
        text(&headers, &body)
    };
    let (own, theirs) = (get("page.css").await, get("swagger-ui.css").await + &get("swagger-ui-bundle.js").await);
    assert!(own.contains("@media (max-width: 640px)"), "{own}");
    // Comments are removed: they have no classes, but may have full stops.
    let rules: String = own.split("/*").map(|part| part.rsplit("*/").next().unwrap()).collect();
    let classes: Vec<_> = rules
        .split('.')
        .skip(1)
        .map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && !"-_".contains(c)).next().unwrap())
        .collect();
    assert!(classes.len() > 10, "{classes:?}");
    for class in classes {
        assert!(theirs.contains(class), "{class} is no class of Swagger UI");
    }
}
