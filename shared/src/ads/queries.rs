//! The tables of advertising in PostgreSQL.

use std::sync::Arc;

use crate::store::{Failure, Loaded, Store};

/// REPLACED by the lead's module: it is here so that the branch compiles.
pub async fn load_reports(_store: &Store, _ids: &[Arc<str>]) -> Result<Vec<Loaded>, Failure> {
    Ok(Vec::new())
}
