//! `GET /schemas` and `GET /asyncapi.json`: the registry of the events' types. The schema of a version never changes.

use std::sync::Arc;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderMap, header};
use axum::routing::get;
use bytes::Bytes;
use serde::Serialize;
use shared::kafka::schemas::{EventSchema, Published};

use super::docs::Served;
use super::problem::{Code, Problem};
use super::{Route, asyncapi};

pub(crate) const SCHEMAS: &str = "/schemas";
pub(crate) const SCHEMA: &str = "/schemas/{type}/{version}";
/// A version never changes, so that caches need not ask again.
pub(crate) const IMMUTABLE: &str = "public, max-age=31536000, immutable";
pub(crate) const MEDIA_TYPE: &str = "application/schema+json";

/// A schema, as the list tells of it.
#[derive(Serialize)]
struct Listed<'a> {
    r#type: &'a str,
    version: u16,
    uri: String,
    /// The domain that publishes it.
    publisher: &'a str,
    /// The stream on which it is published.
    stream: &'a str,
}

/// The routes of these schemas, and of the document that describes the events.
pub fn routes(published: &[Published]) -> [Route; 3] {
    let list = Arc::new(Served::new("application/json", list(published).into(), &[]));
    let of_one = |schema: &&'static EventSchema| {
        let content = Bytes::from_static(schema.text.as_bytes());
        let served = Served::new(MEDIA_TYPE, content, &[(header::CACHE_CONTROL, IMMUTABLE)]);
        (schema.event_type, schema.version, served)
    };
    let all: Arc<Vec<_>> = Arc::new(published.iter().flat_map(|one| one.schemas).map(of_one).collect());
    let list = move |headers: HeaderMap| std::future::ready(list.answer(&headers));
    let document = asyncapi::document(published).to_string();
    let document = Arc::new(Served::new("application/json", document.into(), &[]));
    let document = move |headers: HeaderMap| std::future::ready(document.answer(&headers));
    let one = move |path: Result<Path<(String, String)>, PathRejection>, headers: HeaderMap| {
        let found = path.ok().and_then(|Path((event_type, version))| {
            // One spelling.
            let is_it = |(of, number, _): &&(&str, u16, Served)| *of == event_type && number.to_string() == version;
            all.iter().find(is_it).map(|(_, _, served)| served.answer(&headers))
        });
        std::future::ready(
            found.ok_or_else(|| Problem::new(Code::NOT_FOUND, "there is no such type, or version of it")),
        )
    };
    [(SCHEMAS, get(list)), (SCHEMA, get(one)), (asyncapi::DOCUMENT, get(document))]
}

fn list(published: &[Published]) -> String {
    let of_one = |published: &Published| {
        let Published { domain, stream, schemas } = *published;
        schemas.iter().map(move |schema| Listed {
            r#type: schema.event_type,
            version: schema.version,
            uri: schema.uri(),
            publisher: domain,
            stream,
        })
    };
    let mut all: Vec<_> = published.iter().flat_map(of_one).collect();
    all.sort_unstable_by_key(|one| (one.r#type, one.version));
    // Serializing strings and numbers cannot fail.
    serde_json::to_string(&serde_json::json!({"schemas": all})).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::extract::Request;
    use axum::response::Response;
    use http_body_util::BodyExt as _;
    use serde_json::{Value, json};
    use tower::ServiceExt as _;

    use super::*;

    static ONE: EventSchema = EventSchema::new("com.example.thing.made", 1, r#"{"title":"one"}"#);
    static TWO: EventSchema = EventSchema::new("com.example.thing.made", 2, r#"{"title":"two"}"#);

    static ALL: [Published; 1] = [Published { domain: "things", stream: "thing-events", schemas: &[&TWO, &ONE] }];

    async fn get(path: &str, tag: Option<&str>) -> Response {
        let routes = routes(&ALL).into_iter().fold(Router::new(), |all, (path, answer)| all.route(path, answer));
        let mut request = Request::get(path);
        if let Some(tag) = tag {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        routes.oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    async fn json(response: Response) -> Value {
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }

    #[tokio::test]
    async fn each_version_has_an_address_and_never_changes() {
        let listed = json(get("/schemas", None).await).await;
        let one = |version: u16| {
            json!({
                "type": "com.example.thing.made", "version": version, "uri": format!("/schemas/com.example.thing.made/{version}"),
                "publisher": "things", "stream": "thing-events"
            })
        };
        assert_eq!(listed, json!({"schemas": [one(1), one(2)]}));
        for (schema, title) in [(&listed["schemas"][0], "one"), (&listed["schemas"][1], "two")] {
            let path = schema["uri"].as_str().unwrap();
            let found = get(path, None).await;
            let of = |name: &str| found.headers()[name].to_str().unwrap().to_owned();
            assert_eq!((of("content-type"), of("cache-control")), (MEDIA_TYPE.to_owned(), IMMUTABLE.to_owned()));
            assert_eq!(found.headers().get_all("cache-control").iter().count(), 1);
            let tag = of("etag");
            assert_eq!(json(found).await["title"], title);
            assert_eq!(get(path, Some(&tag)).await.status(), 304);
        }
        for none in [
            "/schemas/com.example.thing.made/3",
            "/schemas/com.example.thing.made/01",
            "/schemas/x/1",
            "/schemas/%FF/1",
        ] {
            assert_eq!(get(none, None).await.status(), 404, "{none}");
        }
    }
}
