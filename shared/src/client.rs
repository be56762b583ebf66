//! The client of services of ours.
