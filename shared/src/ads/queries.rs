//! The tables of advertising in PostgreSQL.

pub mod campaigns;
mod json;
mod report;
mod terms_row;

pub use self::report::{By, MAX_REPORT_ROWS, Part, Report, load_reports, report};
