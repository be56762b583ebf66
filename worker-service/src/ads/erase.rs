//! `erase-user`: erases a user of advertising.

use anyhow::Context as _;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use shared::ads::UserId;
use shared::ads::queries;
use shared::store::{PostgresConfig, Store};

use crate::consumer::registry::{OperatorCommand, Out};

impl OperatorCommand for EraseUserConfig {
    fn run<'a>(&'a self, out: Out<'a>) -> BoxFuture<'a, anyhow::Result<()>> {
        erase(self, out).boxed()
    }
}

/// Erases a user's rows, and leaves its tombstone; the sums of its campaigns stay. An error says what is erased and what
/// is not.
async fn erase(config: &EraseUserConfig, out: Out<'_>) -> anyhow::Result<()> {
    let store = Store::open(&config.postgres, "worker-service erase-user")?;
    store.check().await.context("nothing was erased: PostgreSQL is not ready")?;
    let gone = queries::erase_user(&store, &config.user).await.context("nothing was erased")?;
    let user = &config.user;
    let told = writeln!(out, "erased {user}: {} events", gone.events).and_then(|()| out.flush());
    told.context("the user is erased, but the result could not be printed")?;
    store.close().await;
    Ok(())
}

/// Settings of `erase-user`.
#[derive(Debug, Clone, clap::Args)]
pub struct EraseUserConfig {
    /// The user.
    #[arg(value_name = "USER")]
    pub user: UserId,
    #[command(flatten)]
    pub postgres: PostgresConfig,
}
