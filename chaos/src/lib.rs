//! Breaks what can be broken while load runs, and checks that nothing was lost, doubled or stale.
//!
//! The way of a run: [`plan`] (a seed becomes a schedule; pure) → [`world`] (servers, services,
//! proxies) under [`load`] (devices and readers, who write down what they see) while [`faults`]
//! happen → [`gather`] (what the log and the stores hold when all is quiet) → [`history`] (a file, which
//! can be judged again) → [`checker`] (pure) → [`least`] (whether there was enough to be judged) →
//! [`report`].

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
