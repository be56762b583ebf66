//! `GET /videos/{id}/files/placements.json` and `.vtt`: the files that players read. PostgreSQL says which object the
//! newest file is; the store of objects has its bytes. The entity tag is their SHA-256.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use shared::placements::VideoId;
use shared::placements::files::FileKind;
use shared::placements::objects::{FilesConfig, Objects};
use shared::placements::queries::files::{FileRow, FileState, file};
use tokio::time::Instant;

use super::answers::{none, of_video, unread};
use super::codes::{FILE_NOT_READY, FILES_UNAVAILABLE, VIDEO_NOT_FOUND};
use super::paths::{JSON_OF_VIDEO, VTT_OF_VIDEO};
use super::rights::READERS;
use super::videos::video_in_path;
use crate::backbone::Backbone;
use crate::http::compression::compressed;
use crate::http::problem::Problem;
use crate::http::response_budget::{in_time, room_for, within};
use crate::http::{Route, is_fresh};

/// The files, with their paths.
pub(super) const FILES: [(&str, FileKind); 2] = [(JSON_OF_VIDEO, FileKind::Json), (VTT_OF_VIDEO, FileKind::Vtt)];
/// The revision of the video that a file shows.
pub(super) const REVISION: HeaderName = HeaderName::from_static("x-revision");

#[derive(Clone)]
struct Files {
    backbone: Arc<Backbone>,
    /// Nothing, if `FILES_URL` is not set.
    objects: Option<Objects>,
    kind: FileKind,
}

pub(super) fn routes(config: &FilesConfig, backbone: &Arc<Backbone>) -> anyhow::Result<Vec<Route>> {
    let objects = config.files_url.as_ref().map(Objects::open).transpose()?;
    let route = |(path, kind)| {
        let files = Files { backbone: Arc::clone(backbone), objects: objects.clone(), kind };
        (path, compressed(get(show).with_state(files), &backbone.answers))
    };
    Ok(FILES.map(route).to_vec())
}

/// Responds with a file, or 304. Errors: 401 and 403 before it is looked for, 404, and 503.
async fn show(State(files): State<Files>, request: Request) -> Result<Response, Problem> {
    let deadline = files.backbone.cached.deadline();
    let (mut parts, _) = request.into_parts();
    in_time(deadline, files.look(&mut parts, deadline)).await?
}

impl Files {
    async fn look(&self, parts: &mut Parts, deadline: Instant) -> Result<Response, Problem> {
        self.backbone.reader(parts, deadline, |caller| caller.needs_any(READERS)).await?;
        let video = video_in_path(parts).await?;
        let mut response = self.answer(video, parts).await.map_err(|problem| problem.logged_about(of_video(video)))?;
        response.extensions_mut().insert(of_video(video));
        Ok(response)
    }

    async fn answer(&self, video: VideoId, parts: &Parts) -> Result<Response, Problem> {
        let state = file(&self.backbone.store, video, self.kind).await;
        let row = match state.map_err(|failure| unread(&failure))? {
            FileState::NoVideo => return Err(none(VIDEO_NOT_FOUND)),
            FileState::NotReady => {
                let detail = "the files of this video are being made for the first time: try again";
                return Err(Problem::new(FILE_NOT_READY, detail).retry_after(1));
            }
            FileState::Ready(row) => row,
        };
        let tag = format!("\"{}\"", row.hash);
        let mut response = if is_fresh(&parts.headers, tag.as_bytes()) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            self.read(video, row).await?
        };
        let headers = response.headers_mut();
        if let Ok(tag) = HeaderValue::try_from(tag) {
            headers.insert(header::ETAG, tag);
        }
        headers.insert(REVISION, HeaderValue::from(row.revision));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        Ok(response)
    }

    async fn read(&self, video: VideoId, row: FileRow) -> Result<Response, Problem> {
        let unavailable = |detail: &'static str| Problem::new(FILES_UNAVAILABLE, detail);
        let Some(objects) = &self.objects else {
            tracing::warn!(%video, "a file was asked for, and FILES_URL is not set");
            return Err(unavailable("this instance has no store of files"));
        };
        // Before its bytes are in memory.
        let room = room_for(&self.backbone.answers, row.bytes)?;
        match objects.get(row.hash).await {
            Ok(Some(content)) => {
                let mut response = within(room, content.into_response()).await;
                let media_type = HeaderValue::from_static(self.kind.media_type());
                response.headers_mut().insert(header::CONTENT_TYPE, media_type);
                Ok(response)
            }
            Ok(None) => {
                tracing::error!(%video, object = %row.hash, "the store of files has not the file of a video");
                Err(unavailable("the store of files has lost this file"))
            }
            Err(error) if error.is_damaged() => {
                tracing::error!(%video, %error, "the store of files has the file of a video damaged");
                Err(unavailable("this file is damaged in the store of files"))
            }
            Err(error) => {
                tracing::warn!(%video, %error, "cannot read a file");
                Err(unavailable("the store of files does not answer: try again"))
            }
        }
    }
}
