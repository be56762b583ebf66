//! Breaks what can be broken while load runs, and checks that nothing was lost, doubled or stale.
//!
//! The way of a run: [`plan`] (a seed becomes a schedule; pure) → [`world`] (servers, services,
//! proxies) under [`load`] (devices and readers, who write down what they see) while [`faults`]
//! happen → [`gather`] (what the log and the stores hold when all is quiet) → [`checker`] (pure) →
//! [`report`].

pub mod checker;
pub mod faults;
pub mod gather;
pub mod history;
pub mod load;
pub mod plan;
pub mod report;
pub mod run;
pub mod world;
