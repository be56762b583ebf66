//! The request of a command, and its answer.

use reqwest::Method;
use serde_json::Value;

use crate::history::placements::Ask;
use crate::load::Client;

pub(super) struct Request {
    method: Method,
    path: String,
    /// The version that `If-Match` names.
    version: Option<i64>,
    body: Option<Value>,
}

#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) code: Option<String>,
    pub(super) replayed: bool,
    pub(super) etag: Option<String>,
    pub(super) location: Option<String>,
    pub(super) body: String,
}

impl Request {
    pub(super) fn of(ask: &Ask) -> Self {
        let new = |path: String, body| Self { method: Method::POST, path, version: None, body };
        let changed = |path: String, version: &i64, body: &Value| Self {
            method: Method::PATCH,
            path,
            version: Some(*version),
            body: Some(body.clone()),
        };
        match ask {
            Ask::CreateVideo { body } => new("/videos".into(), Some(body.clone())),
            Ask::ChangeVideo { video, version, body } => changed(format!("/videos/{video}"), version, body),
            Ask::Place { video, body } => {
                let mut body = body.clone();
                if let Value::Object(members) = &mut body {
                    members.insert("videoId".into(), video.as_str().into());
                }
                new("/placements".into(), Some(body))
            }
            Ask::PlaceMany { video, bodies } => {
                new(format!("/videos/{video}/placements"), Some(Value::Array(bodies.clone())))
            }
            Ask::ChangePlacement { placement, version, body } => {
                changed(format!("/placements/{placement}"), version, body)
            }
            Ask::DeletePlacement { placement, version } => Self {
                method: Method::DELETE,
                path: format!("/placements/{placement}"),
                version: Some(*version),
                body: None,
            },
            Ask::Validate { video } => new(format!("/videos/{video}/validations"), None),
        }
    }

    /// Sends it; `None` without a whole answer. With a key of another command, its events would have another correlation
    /// id, which nobody has.
    pub(super) async fn send(self, client: &Client, api: usize, key: &str, reuses: bool) -> Option<Answer> {
        let Self { method, path, version, body } = self;
        let url = client.world.urls.get(api)?;
        let is_patch = method == Method::PATCH;
        let correlation = if reuses { format!("{key}-reused") } else { key.to_owned() };
        let mut request = client
            .http
            .request(method, format!("{url}{path}"))
            .bearer_auth(&client.world.token)
            .header("idempotency-key", key)
            .header("x-correlation-id", correlation);
        if let Some(version) = version {
            request = request.header("if-match", format!("\"{version}\""));
        }
        if let Some(body) = body {
            let media_type = if is_patch { "application/merge-patch+json" } else { "application/json" };
            request = request.header("content-type", media_type).body(body.to_string());
        }
        let response = request.send().await.ok()?;
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
        let (etag, location) = (header("etag"), header("location"));
        let replayed = header("idempotent-replayed").is_some();
        let status = response.status().as_u16();
        let body = response.text().await.ok()?;
        let code = || serde_json::from_str::<Value>(&body).ok()?.get("code")?.as_str().map(ToOwned::to_owned);
        let code = if status < 400 { None } else { code() };
        // An answer that is not certain is not compared with others.
        let body = if status < 500 { body } else { String::new() };
        Some(Answer { status, code, replayed, etag, location, body })
    }
}
