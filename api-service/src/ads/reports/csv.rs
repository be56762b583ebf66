//! The rows of a report as CSV (RFC 4180), with a line of column names. Each cell is a date or a number of this
//! service, so none can begin like a formula of a spreadsheet. Only the dates and the names are in quotes.

use ::csv::{QuoteStyle, Terminator, WriterBuilder};
use serde::Deserialize;
use shared::ads::queries::By;

pub(super) const MEDIA_TYPE: &str = "text/csv";

/// After the day and the hour.
const COLUMNS: [&str; 9] = ["impressions", "clicks", "conversions", "users", "ctr", "cvr", "spend", "value", "void"];

/// What is read of a report's body.
#[derive(Debug, Deserialize)]
pub(super) struct Body<'a> {
    #[serde(borrow)]
    rows: Vec<Row<'a>>,
    pub(super) updated_at: &'a str,
}

#[derive(Debug, Deserialize)]
struct Row<'a> {
    day: &'a str,
    hour: Option<u8>,
    impressions: u64,
    clicks: u64,
    conversions: u64,
    users: u64,
    ctr: &'a str,
    cvr: &'a str,
    spend: &'a str,
    value: &'a str,
    void: u64,
}

impl<'a> Body<'a> {
    pub(super) fn of(text: &'a str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// Writes a line for each row.
    pub(super) fn write(&self, by: By) -> anyhow::Result<Vec<u8>> {
        let mut builder = WriterBuilder::new();
        builder.terminator(Terminator::CRLF).quote_style(QuoteStyle::NonNumeric);
        let mut writer = builder.from_writer(Vec::new());
        let keys: &[&str] = match by {
            By::Day => &["day"],
            By::Hour => &["day", "hour"],
        };
        writer.write_record(keys.iter().chain(&COLUMNS))?;
        for Row { day, hour, impressions, clicks, conversions, users, ctr, cvr, spend, value, void } in &self.rows {
            writer.write_field(day)?;
            if let Some(hour) = hour {
                writer.write_field(hour.to_string())?;
            }
            for count in [impressions, clicks, conversions, users] {
                writer.write_field(count.to_string())?;
            }
            for text in [ctr, cvr, spend, value] {
                writer.write_field(text)?;
            }
            writer.write_field(void.to_string())?;
            writer.write_record(None::<&[u8]>)?;
        }
        Ok(writer.into_inner().map_err(::csv::IntoInnerError::into_error)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_row() {
        let row = |key: &str| {
            let counts = r#""impressions":3,"clicks":1,"conversions":0,"users":2,"ctr":"0.333333","cvr":"0""#;
            format!(r#"{{"day":"2026-03-02",{key}{counts},"spend":"0.030000001","value":"0","void":1}}"#)
        };
        let body =
            |rows: &str| format!(r#"{{"version":7,"rows":[{rows}],"updated_at":"2026-03-04T05:06:07.000089Z"}}"#);
        let written = |text: &str, by| String::from_utf8(Body::of(text).unwrap().write(by).unwrap()).unwrap();
        let columns = r#""impressions","clicks","conversions","users","ctr","cvr","spend","value","void""#;
        let numbers = "3,1,0,2,0.333333,0,0.030000001,0,1";
        let days = written(&body(&[row(""), row("")].join(",")), By::Day);
        let line = format!("\"2026-03-02\",{numbers}\r\n");
        assert_eq!(days, format!("\"day\",{columns}\r\n{line}{line}"));
        let hours = written(&body(&row(r#""hour":23,"#)), By::Hour);
        assert_eq!(hours, format!("\"day\",\"hour\",{columns}\r\n\"2026-03-02\",23,{numbers}\r\n"));
        assert_eq!(written(&body(""), By::Day), format!("\"day\",{columns}\r\n"));
        assert_eq!(Body::of(&body("")).unwrap().updated_at, "2026-03-04T05:06:07.000089Z");
    }
}
