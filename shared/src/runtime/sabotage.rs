//! Mistakes that a build for tests makes on purpose, so that `make chaos` shows that it would notice them
//! (`chaos/sabotages` lists them). Only a build with the feature `sabotage` can make them, and a release cannot be such a
//! build.

#[cfg(all(feature = "sabotage", not(debug_assertions)))]
compile_error!("the feature `sabotage` makes mistakes on purpose: a release must not have it");

/// Whether this process makes this mistake: the environment variable `SABOTAGE` names it.
#[cfg(feature = "sabotage")]
pub fn makes(mistake: &str) -> bool {
    static NAMED: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    NAMED.get_or_init(|| std::env::var("SABOTAGE").unwrap_or_default()) == mistake
}

/// No.
#[cfg(not(feature = "sabotage"))]
pub const fn makes(_: &str) -> bool {
    false
}
