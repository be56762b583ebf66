//! In a domain whose tables may be distributed over the nodes of a cluster, each statement names the column by which
//! they are distributed, so that it runs on the nodes that have its rows, and on no other.

use super::source::{Crate, Module};

/// A table and its column, as in `queries/distributed.rs`.
type Table = (String, String);

/// Statements about all keys, by the end of their file and the beginning of their text.
const OF_ALL: [(&str, &str); 3] = [
    // By age: each node deletes its old rows.
    ("queries/expire.rs", ""),
    // In the order of the keys.
    ("queries/list.rs", ""),
    // By topic, when a topic was made anew.
    ("queries/erase.rs", "UPDATE forgotten_devices SET topic = NULL"),
];

/// The statements that do not name it, and how many do.
pub(super) fn broken(crates: &[Crate]) -> (Vec<String>, usize) {
    let (mut found, mut sound) = (Vec::new(), 0);
    for one in crates {
        for (path, module) in &one.modules {
            let [domain, queries, name] = &path[..] else { continue };
            if queries != "queries" || name != "distributed" {
                continue;
            }
            let tables = tables(module);
            let is_of_domain = |path: &[String]| path.first() == Some(domain) && path.get(1) == Some(queries);
            let modules = one.modules.iter().filter(|(path, _)| is_of_domain(path)).map(|(_, module)| module);
            for (module, (text, line)) in modules.flat_map(|it| it.strings.iter().map(move |string| (it, string))) {
                let statement = statement(text);
                let is_of_all =
                    |(file, text): &(&str, &str)| module.file.ends_with(file) && statement.starts_with(text);
                match unnamed(&statement, &tables) {
                    Some(_) if OF_ALL.iter().any(is_of_all) => {}
                    Some(column) => found.push(format!("{}:{line}: {column} is not known", module.file)),
                    None => sound += usize::from(tables.iter().any(|(table, _)| !uses(&statement, table).is_empty())),
                }
            }
        }
    }
    (found, sound)
}

fn tables(module: &Module) -> Vec<Table> {
    let strings: Vec<_> = module.strings.iter().map(|(text, _)| statement(text)).collect();
    strings.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

/// The text of a literal, with single blanks.
fn statement(literal: &str) -> String {
    let text = literal.split_once('"').map_or("", |(_, text)| text).trim_end_matches('#').trim_end_matches('"');
    let words = text.split_whitespace().filter(|word| *word != "\\");
    words.collect::<Vec<_>>().join(" ").replace("\\\"", "\"")
}

/// Each use of a table: the word before it, and what stands behind it.
fn uses<'a>(statement: &'a str, table: &str) -> Vec<(&'a str, &'a str)> {
    const VERBS: [&str; 5] = ["FROM", "INTO", "UPDATE", "JOIN", "USING"];
    let places = statement.match_indices(table).filter_map(|(at, _)| {
        let (before, behind) = (statement[..at].strip_suffix(' ')?, &statement[at + table.len()..]);
        let verb = before.rsplit([' ', '(']).next().filter(|word| VERBS.contains(word))?;
        (behind.is_empty() || behind.starts_with([' ', ')', ','])).then_some((verb, behind))
    });
    places.collect()
}

/// A column that is not known of each of its tables: it is neither among the columns of an `INSERT`, nor compared with
/// one of the parameters, once for each use.
fn unnamed<'a>(statement: &str, tables: &'a [Table]) -> Option<&'a str> {
    tables.iter().map(|(_, column)| column.as_str()).find(|column| {
        let of_column = tables.iter().filter(|(_, of)| of == column);
        let uses: Vec<_> = of_column.flat_map(|(table, _)| uses(statement, table)).collect();
        let is_insert = |(verb, behind): &&(&str, &str)| {
            let columns =
                behind.split_once('(').and_then(|(_, list)| list.split_once(')')).map_or("", |(list, _)| list);
            *verb == "INTO" && columns.split(',').any(|name| name.trim() == *column)
        };
        let others = uses.iter().filter(|one| !is_insert(one)).count();
        compared(statement, column) < others
    })
}

/// How often a column is compared with a parameter.
fn compared(statement: &str, column: &str) -> usize {
    let places = statement.match_indices(column).filter(|(at, _)| {
        let behind = &statement[at + column.len()..];
        let is_whole = statement[..*at].chars().next_back().is_none_or(|before| [' ', '.', '('].contains(&before));
        is_whole && (behind.starts_with(" = $") || behind.starts_with(" = ANY($"))
    });
    places.count()
}

#[test]
fn statements_that_do_not_name_the_column_are_found() {
    let tables = [("events", "device_id"), ("resources", "id")].map(|(table, column)| (table.into(), column.into()));
    for sound in [
        "SELECT 1",
        "SELECT * FROM events WHERE device_id = $1",
        "SELECT * FROM (SELECT 1) AS one LEFT JOIN resources AS r ON r.id = ANY($2)",
        "UPDATE events SET a = 1 FROM unnest($1) AS late (device_id) WHERE events.device_id = ANY($1)",
        "INSERT INTO resources AS r (id, payload) SELECT id, payload FROM unnest($1)",
        "INSERT INTO events (a, device_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
    ] {
        assert_eq!(unnamed(sound, &tables), None, "{sound}");
    }
    for (broken, column) in [
        ("SELECT * FROM events", "device_id"),
        ("SELECT * FROM events WHERE event_id = $1", "device_id"),
        ("SELECT * FROM resources WHERE device_id = $1", "id"),
        ("SELECT * FROM resources JOIN unnest($1) AS new (id) USING (id)", "id"),
        ("DELETE FROM events WHERE device_id IN (SELECT device_id FROM events WHERE device_id = $1)", "device_id"),
        ("INSERT INTO resources (payload) SELECT payload FROM unnest($1)", "id"),
        ("INSERT INTO events (device_id) SELECT id FROM resources", "id"),
    ] {
        assert_eq!(unnamed(broken, &tables), Some(column), "{broken}");
    }
}
