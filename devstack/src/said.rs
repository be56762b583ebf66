//! Parses the services' output: log lines and metric samples.

use serde_json::Value;

pub fn json_lines(log: &str) -> impl Iterator<Item = Value> {
    log.lines().filter_map(|line| serde_json::from_str(line).ok())
}

/// The log lines whose message begins with `message` and that contain `text`.
pub fn logged<'a>(log: &'a str, message: &'a str, text: &'a str) -> impl Iterator<Item = Value> + 'a {
    let begins = move |line: &Value| line["message"].as_str().is_some_and(|found| found.starts_with(message));
    json_lines(log).filter(move |line| begins(line) && line.to_string().contains(text))
}

/// The samples of a metric on a page, with labels and value.
pub fn samples<'a>(page: &'a str, metric: &str) -> impl Iterator<Item = (&'a str, f64)> {
    page.lines().filter_map(move |line| {
        let (labels, value) = line.strip_prefix(metric)?.rsplit_once(' ')?;
        let labels = if labels.is_empty() { "" } else { labels.strip_prefix('{')?.strip_suffix('}')? };
        Some((labels, value.parse().ok()?))
    })
}

/// The sum of all samples with at least these labels: `events_total{outcome="applied"}` sums over all groups. `None`
/// without such a sample.
pub fn sample(page: &str, series: &str) -> Option<f64> {
    values(page, series).reduce(|sum, value| sum + value)
}

/// The value of each such sample.
pub(crate) fn values<'a>(page: &'a str, series: &'a str) -> impl Iterator<Item = f64> + 'a {
    let (metric, wanted) = series.trim_end_matches('}').split_once('{').unwrap_or((series, ""));
    let wanted: Vec<_> = labels(wanted).collect();
    let has_all = move |found: &str| wanted.iter().all(|label| labels(found).any(|found| found == *label));
    samples(page, metric).filter(move |(found, _)| has_all(found)).map(|(_, value)| value)
}

/// Each label as `name="value`; a value must not contain `",`.
fn labels(all: &str) -> impl Iterator<Item = &str> {
    all.trim_end_matches('"').split("\",").filter(|label| !label.is_empty())
}

#[cfg(test)]
mod tests {
    use super::sample;

    #[test]
    fn a_sample_is_the_sum_of_all_that_have_its_labels() {
        let page = "# TYPE a_total counter\na_total{group=\"g\",reason=\"x y\"} 1\na_total{group=\"h\",reason=\"x y\"} 2\n\
                    a_total{group=\"g\",reason=\"z\"} 4\na_totals 8\nb_total 16\nc{partition=\"1\"} 0\n";
        for (series, sum) in [
            ("a_total", Some(7.0)),
            (r#"a_total{group="g"}"#, Some(5.0)),
            (r#"a_total{reason="x y"}"#, Some(3.0)),
            (r#"a_total{reason="x y",group="h"}"#, Some(2.0)),
            (r#"a_total{reason="x"}"#, None),
            (r#"c{partition="1"}"#, Some(0.0)),
            (r#"c{partition="11"}"#, None),
            ("b_total", Some(16.0)),
            ("total", None),
        ] {
            assert_eq!(sample(page, series), sum, "{series}");
        }
    }
}
