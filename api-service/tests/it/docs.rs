//! The document and the page, as a browser gets them.

use std::io::Read as _;

use api_service::domains::Domains;
use api_service::http::openapi;
use flate2::read::GzDecoder;

use crate::prelude::*;

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
        let (status, headers) = (first.status().as_u16(), first.headers().clone());
        assert_eq!((status, headers["x-content-type-options"].to_str().unwrap()), (200, "nosniff"), "{path}");
        let mut body = first.bytes().await.unwrap().to_vec();
        conforms(path, status, &headers, &body);
        if headers.contains_key("content-encoding") {
            let packed = std::mem::take(&mut body);
            GzDecoder::new(&packed[..]).read_to_end(&mut body).unwrap();
        }
        let text = String::from_utf8(body).unwrap();
        let is_ours = ["SwaggerUIBundle", ".swagger-ui", "<title>Events</title>", r#""title":"Events""#];
        assert!(is_ours.iter().any(|own| text.contains(own)), "{path}");

        let again = app.request("GET", path).header("if-none-match", &headers["etag"]).send().await.unwrap();
        let (status, headers) = (again.status().as_u16(), again.headers().clone());
        assert_eq!(status, 304, "{path}");
        conforms(path, status, &headers, &again.bytes().await.unwrap());
    }
    let document: Value = app.request("GET", "/openapi.json").send().await.unwrap().json().await.unwrap();
    assert_eq!(document, Domains::all().document());
    let sent = app.request("GET", "/openapi.json").send().await.unwrap().text().await.unwrap();
    assert_eq!(sent, openapi::text(&Domains::all().document()), "in its order");
    let none = problem(app.request("GET", "/docs/none.js").send().await.unwrap()).await;
    assert_eq!(none["code"], "not_found");
}

/// Rules for a phone are written for the classes of Swagger UI, which may have others after an update.
#[tokio::test]
async fn every_class_that_the_pages_own_style_names_is_one_of_swagger_uis() {
    let app = TestApp::start("docs_style").await;
    let get = async |file: &str| {
        let answer = app.request("GET", &format!("/docs/{file}")).send().await.unwrap();
        let packed = answer.headers().contains_key("content-encoding");
        let body = answer.bytes().await.unwrap();
        let mut text = String::new();
        if packed {
            GzDecoder::new(&body[..]).read_to_string(&mut text).unwrap();
        } else {
            text.push_str(std::str::from_utf8(&body).unwrap());
        }
        text
    };
    let (own, theirs) = (get("page.css").await, get("swagger-ui.css").await + &get("swagger-ui-bundle.js").await);
    assert!(own.contains("@media (max-width: 640px)"), "{own}");
    // A comment has no class, though it may have a full stop.
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
