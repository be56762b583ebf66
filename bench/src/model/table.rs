//! The answer of the model as tables of Markdown, which a terminal shows well, too.

use super::assumed::{DAY, GIB, MIB, MOST_PARTITIONS, TIB};
use super::load::Load;
use super::needs::{Count, Needs};

/// What loads need, one column each.
pub(crate) fn needs(columns: &[(Load, Needs)]) -> String {
    type Cell = fn(&Load, &Needs) -> String;
    let has_caps = columns.iter().any(|(load, _)| load.impressions > 0.0);
    let rows: [(&str, Cell); 21] = [
        ("events a second: average, peak", |_, it| format!("{}; {}", count(it.events), count(it.events_at_peak))),
        ("reads a second, average", |load, _| count(load.reads)),
        ("**API**: tasks of 1 core and 2 GiB", |_, it| count(it.api.count)),
        ("**Kafka**: partitions of a topic", |_, it| partitions(it)),
        ("written by the brokers, 3 replicas", |_, it| a_second(it.kafka.written)),
        ("disk of the brokers", |_, it| bytes(it.kafka.disk)),
        ("cores of the brokers, with full batches", |_, it| cores(it.kafka.cores)),
        ("**worker**: tasks of 0.5 cores and 1 GiB", |_, it| count(it.workers.count)),
        ("**PostgreSQL**: cores", |_, it| cores(it.postgres.cores)),
        ("memory that writes need", |_, it| bytes(it.postgres.hot)),
        ("disk: events, indexes, states", |_, it| {
            let postgres = &it.postgres;
            let [events, indexes, states] = [postgres.events, postgres.indexes, postgres.resources].map(bytes);
            format!("{} ({events}, {indexes}, {states})", bytes(postgres.disk))
        }),
        ("WAL: at the peak, a day", |_, it| format!("{}; {}", a_second(it.postgres.wal), bytes(it.postgres.wal_a_day))),
        ("transactions a second; forced vacuum every", |_, it| {
            format!("{}; {}", count(it.postgres.transactions), time(it.postgres.freeze))
        }),
        ("connections, at most", |_, it| count(it.connections)),
        ("writes a second (IOPS), at most", |_, it| count(it.postgres.writes)),
        ("servers, and what makes them necessary", |_, it| match it.postgres.servers() {
            (servers, "") => format!("{} is enough", count(servers)),
            (servers, of) => format!("{}: {of}", count(servers)),
        }),
        ("expiry, of what one worker deletes", |_, it| part(&it.postgres.expiry)),
        ("**Redis**: commands a second; nodes", |_, it| nodes(it.redis.commands, &it.redis.nodes)),
        ("memory of Redis", |_, it| bytes(it.redis.memory)),
        ("**Redis of caps**: commands a second; nodes", |_, it| nodes(it.caps.commands, &it.caps.nodes)),
        ("memory of the caps' Redis", |_, it| bytes(it.caps.memory)),
    ];
    let shown = if has_caps { rows.len() } else { rows.len() - 2 };
    let row = |(name, cell): &(&str, Cell)| {
        [(*name).to_owned()].into_iter().chain(columns.iter().map(|(load, needs)| cell(load, needs))).collect()
    };
    table(columns, rows.iter().take(shown).map(row))
}

/// Where each part ends, for devices as in each column.
pub(crate) fn ends(columns: &[(Load, Vec<(String, f64)>)]) -> String {
    let names = columns.first().map(|(_, ends)| ends.as_slice()).unwrap_or_default();
    let rows = names.iter().enumerate().map(|(place, (name, _))| {
        let most = columns.iter().map(|(_, ends)| ends.get(place).map_or_else(String::new, |(_, most)| devices(*most)));
        [name.clone()].into_iter().chain(most).collect::<Vec<_>>()
    });
    let mut header = vec!["what ends".to_owned()];
    header.extend(columns.iter().map(|(load, _)| format!("devices with {}", period(load.events_per_second))));
    aligned([header].into_iter().chain(rows).collect())
}

fn table(columns: &[(Load, Needs)], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut header = vec![String::new()];
    header.extend(columns.iter().map(|(load, _)| format!("{} devices", count(load.devices))));
    aligned([header].into_iter().chain(rows).collect())
}

fn aligned(rows: Vec<Vec<String>>) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    let mut text = String::new();
    for (place, row) in rows.iter().enumerate() {
        let cells = widths.iter().enumerate().map(|(column, width)| {
            let cell = row.get(column).map(String::as_str).unwrap_or_default();
            format!("| {cell:<width$} ")
        });
        text.extend(cells);
        text.push_str("|\n");
        if place == 0 {
            text.extend(widths.iter().map(|width| format!("|{}", "-".repeat(width + 2))));
            text.push_str("|\n");
        }
    }
    text
}

/// Whole numbers of some size, with separators; of large ones three digits.
fn count(value: f64) -> String {
    const WORDS: [(f64, &str); 3] = [(1e12, "million million"), (1e9, "billion"), (1e6, "million")];
    match WORDS.iter().find(|(unit, _)| value >= *unit) {
        Some((unit, word)) => format!("{} {word}", short(value / unit)),
        None if value < 100.0 => short(value),
        None => crate::report::number(value),
    }
}

fn devices(value: f64) -> String {
    if value.is_finite() { count(value) } else { "no end".to_owned() }
}

/// At most one decimal, and none that is zero.
fn short(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

fn cores(value: f64) -> String {
    if value < 1.0 { "less than 1".to_owned() } else { count(value.ceil()) }
}

fn bytes(value: f64) -> String {
    let units = [(1_024.0 * TIB, "PiB"), (TIB, "TiB"), (GIB, "GiB")];
    let (unit, name) = units.into_iter().find(|(unit, _)| value >= *unit).unwrap_or((MIB, "MiB"));
    format!("{} {name}", short(value / unit))
}

fn a_second(value: f64) -> String {
    format!("{}/s", bytes(value))
}

fn time(seconds: f64) -> String {
    match seconds {
        days if days >= 2.0 * DAY => format!("{} days", short(days / DAY)),
        hours if hours >= 7_200.0 => format!("{} hours", short(hours / 3_600.0)),
        minutes => format!("{} minutes", short(minutes / 60.0)),
    }
}

fn period(events_per_second: f64) -> String {
    let each = 1.0 / events_per_second;
    if each >= 1.0 {
        format!("an event in {} s", short(each))
    } else {
        format!("{} events/s", short(events_per_second))
    }
}

fn part(count: &Count) -> String {
    let part = count.load / count.each;
    let percent = format!("{} %", self::count((part * 100.0).ceil()));
    if count.fits_one() { percent } else { format!("{percent}: **it cannot keep up**") }
}

fn partitions(needs: &Needs) -> String {
    let all = count(needs.partitions.count);
    if needs.partitions.count <= MOST_PARTITIONS {
        all
    } else {
        format!("{all}: **more than the 10,000 of `TOPIC_PARTITIONS`**")
    }
}

fn nodes(commands: f64, nodes: &Count) -> String {
    format!("{}; {}", count(commands), count(nodes.count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_have_units() {
        let table = [
            (count(6.0), "6"),
            (count(166.67), "167"),
            (count(16_666.7), "16,667"),
            (count(1_666_667.0), "1.7 million"),
            (count(2e9), "2 billion"),
            (cores(0.2), "less than 1"),
            (cores(1.2), "2"),
            (bytes(0.5 * GIB), "512 MiB"),
            (bytes(1_536.0 * GIB), "1.5 TiB"),
            (time(86_400.0), "24 hours"),
            (time(600.0), "10 minutes"),
            (period(1.0 / 60.0), "an event in 60 s"),
            (period(5.0), "5 events/s"),
            (devices(f64::INFINITY), "no end"),
        ];
        for (shown, expected) in table {
            assert_eq!(shown, expected);
        }
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [["", "a"], ["bb", "c"]].map(|row| row.map(str::to_owned).to_vec()).to_vec();
        assert_eq!(aligned(rows), "|    | a |\n|----|---|\n| bb | c |\n");
    }
}
