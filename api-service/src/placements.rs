//! Placements: editors place products into videos; players and plugins read what comes of it.

mod answers;
mod check;
mod codes;
mod command;
mod config;
mod files;
mod openapi;
mod page;
mod paths;
mod places;
mod products;
mod rights;
pub mod validation;
mod validations;
mod videos;

use std::sync::Arc;

use metrics::{counter, describe_counter};
use shared::placements::events::PUBLISHED;
use shared::placements::{VALIDATION, VIDEO};

use self::command::Commands;
pub use self::config::PlacementsConfig;
use crate::auth::ClaimPaths;
use crate::backbone::{Backbone, Domain, Served};

pub const DOMAIN: Domain = Domain {
    name: "placements",
    roles: rights::ROLES,
    codes: codes::ALL,
    kinds: &[&VIDEO, &VALIDATION],
    published: &[&PUBLISHED],
    openapi: openapi::parts,
    describe: || {
        describe_counter!("commands_total", "Commands, by name and by what became of them.");
        describe_counter!("idempotent_replays_total", "Commands answered as before, because of their key.");
        counter!("idempotent_replays_total").increment(0);
        check::describe();
    },
};

/// No claim binds a token to videos.
pub fn claims(_: &PlacementsConfig) -> Vec<(&'static str, ClaimPaths)> {
    Vec::new()
}

pub fn serve(config: &PlacementsConfig, backbone: &Arc<Backbone>) -> anyhow::Result<Served> {
    let tail = backbone.tail(&config.topics.input)?;
    let commands = Commands { backbone: Arc::clone(backbone), tail };
    let files = files::routes(&config.files, backbone)?;
    let check = check::routes(&config.check, &commands)?;
    let routes = [videos::routes, places::routes, products::routes, validations::routes];
    let routes = routes.into_iter().flat_map(|routes| routes(&commands)).chain(files).chain(check).collect();
    Ok(Served { routes, writes_outbox: true, ..Served::default() })
}
