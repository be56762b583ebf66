//! Helpers for tests of videos and placements.

use sqlx::PgPool;

use crate::prelude::*;

/// The ids in the examples of the document.
pub(crate) const VIDEO: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
pub(crate) const PLACEMENT: &str = "01890a5d-ac96-774b-bcce-b302099a8058";

/// Makes the video and the placement of the examples.
pub(crate) async fn examples(app: &TestApp) {
    let pool = PgPool::connect(&app.scope.database_url).await.unwrap();
    let rows = format!(
        "INSERT INTO sequences (aggregate, last) VALUES ('{VIDEO}', 2);
         INSERT INTO videos (id, title, duration_ms, revision, version, placements)
         VALUES ('{VIDEO}', 'A film', 60000, 2, 2, 1);
         INSERT INTO placements (id, video_id, product_id, start_ms, end_ms, layer, region, version)
         VALUES ('{PLACEMENT}', '{VIDEO}', 'mug', 0, 1000, 0, '{{\"x\":0,\"y\":0,\"width\":0.1,\"height\":0.1}}', 2)"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(rows)).execute(&pool).await.unwrap();
}

/// An app, its tables, and an editor who calls it.
pub(crate) struct Editor {
    pub(crate) app: TestApp,
    pub(crate) pool: PgPool,
    token: String,
}

/// A response that is as the document says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Told {
    pub(crate) status: u16,
    headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Told {
    pub(crate) async fn of(response: Response) -> Self {
        let (status, headers, body) = checked(response).await;
        Self { status, headers, text: String::from_utf8(body.to_vec()).unwrap() }
    }

    pub(crate) fn body(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// It has this status; returns its body.
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.body()
    }

    /// It is a problem with this status and this code; returns it.
    pub(crate) fn refused(&self, status: u16, code: &str) -> Value {
        let body = self.expect(status);
        assert_eq!(body["code"], code, "{body}");
        body
    }

    pub(crate) fn text(&self, member: &str) -> String {
        self.body()[member].as_str().unwrap_or_else(|| panic!("{member}: {}", self.text)).to_owned()
    }

    /// The pointers of its faults, sorted.
    pub(crate) fn pointers(&self) -> Vec<String> {
        let body = self.body();
        let mut all: Vec<_> = body["errors"].as_array().unwrap().iter().map(|one| one["pointer"].to_string()).collect();
        all.sort_unstable();
        all.iter().map(|pointer| pointer.trim_matches('"').to_owned()).collect()
    }
}

pub(crate) fn of(subject: &str, roles: &[&str]) -> String {
    devstack::token::hs256(SECRET, subject, roles, &[], Duration::from_secs(600)).unwrap()
}

impl Editor {
    pub(crate) async fn start(name: &str) -> Self {
        Self::with(name, &[]).await
    }

    pub(crate) async fn with(name: &str, settings: &[&str]) -> Self {
        Self::of(TestApp::with(name, settings).await).await
    }

    /// An editor who calls this app.
    pub(crate) async fn of(app: TestApp) -> Self {
        let pool = PgPool::connect(&app.scope.database_url).await.unwrap();
        Self { app, pool, token: of("edith", &["editor"]) }
    }

    /// A call, such as `GET /videos`, with these headers.
    pub(crate) fn call(&self, call: &str, headers: &[(&str, &str)], body: &Value) -> RequestBuilder {
        let (method, path) = call.split_once(' ').unwrap();
        let mut request = self.app.request(method, path).bearer_auth(&self.token);
        if !body.is_null() {
            let media_type = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
            request = request.header("content-type", media_type).body(body.to_string());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request
    }

    pub(crate) async fn send(&self, call: &str, headers: &[(&str, &str)], body: &Value) -> Told {
        Told::of(self.call(call, headers, body).send().await.unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Told {
        self.send(&format!("GET {path}"), &[], &Value::Null).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Told {
        self.send(&format!("POST {path}"), &[], body).await
    }

    pub(crate) async fn patch(&self, path: &str, if_match: &str, body: &Value) -> Told {
        self.send(&format!("PATCH {path}"), &[("if-match", if_match)], body).await
    }

    /// Makes a video of a minute; returns its id.
    pub(crate) async fn video(&self) -> String {
        let made = self.post("/videos", &json!({"title": "film", "durationMs": 60_000})).await;
        made.expect(201);
        made.text("id")
    }

    /// Makes a placement of this video.
    pub(crate) async fn placement(&self, video: &str, start: u32, end: u32) -> Told {
        let made = self.post("/placements", &new(video, start, end)).await;
        made.expect(201);
        made
    }

    /// The events in the outbox, in the order in which they will be published: number, type, subject and data.
    pub(crate) async fn events(&self, aggregate: &str) -> Vec<(i64, String, String, Value)> {
        let rows: Vec<(i64, String, String, String)> = sqlx::query_as(
            "SELECT sequence, type, attributes ->> 'subject', data FROM outbox WHERE aggregate = $1 ORDER BY id",
        )
        .bind(aggregate)
        .fetch_all(&self.pool)
        .await
        .unwrap();
        let parsed = |data: String| serde_json::from_str(&data).unwrap();
        rows.into_iter().map(|(number, kind, subject, data)| (number, kind, subject, parsed(data))).collect()
    }

    /// The last parts of the types of these events, with their numbers.
    pub(crate) async fn types(&self, aggregate: &str) -> Vec<(i64, String)> {
        let short = |kind: String| kind.trim_start_matches("com.nedlia.").to_owned();
        self.events(aggregate).await.into_iter().map(|(number, kind, ..)| (number, short(kind))).collect()
    }

    pub(crate) async fn number(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.pool).await.unwrap()
    }

    pub(crate) async fn sql(&self, statement: &str) {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned())).execute(&self.pool).await.unwrap();
    }
}

/// A placement with its required members.
pub(crate) fn new(video: &str, start: u32, end: u32) -> Value {
    json!({"videoId": video, "productId": "mug", "startMs": start, "endMs": end})
}

/// The same without its video.
pub(crate) fn item(start: u32, end: u32) -> Value {
    json!({"productId": "mug", "startMs": start, "endMs": end})
}

/// Numbers with types.
pub(crate) fn numbered(all: &[(i64, &str)]) -> Vec<(i64, String)> {
    all.iter().map(|(number, kind)| (*number, (*kind).to_owned())).collect()
}
