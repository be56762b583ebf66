//! Injects faults while load runs, and checks that nothing was lost, duplicated or stale.
//!
//! The steps of a run: [`plan`] (a seed becomes a schedule; pure) → [`world`] (servers, services,
//! proxies) under [`load`] (devices, trackers, editors and readers, which record what they observe) while [`faults`]
//! happen → [`gather`] (the final contents of the log and the stores) → [`history`] (a file, which can be
//! checked again) → [`checker`] (pure) → [`least`] (whether there were enough faults and load for a
//! verdict) → [`report`].

pub mod checker;
pub mod faults;
pub mod figures;
pub mod gather;
pub mod history;
pub mod least;
pub mod load;
pub mod plan;
pub mod report;
pub mod run;
pub mod world;
