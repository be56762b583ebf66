//! A consumer group: its handler, its partitions, its lag and its health.
//!
//! The path of a record: [`poll`] and [`group`] (the group, and a runner for each partition) → [`partition`] (takes
//! records in, performs the scheduler's actions, moves the committed offset) → [`apply`] (the handler's transaction,
//! and the fence) or a dead letter.

pub mod apply;
pub mod budget;
pub mod event_lines;
pub mod event_log;
pub mod expiry;
pub mod group;
pub mod handler;
pub mod health;
pub mod lag;
pub mod offset_fence;
pub mod partition;
pub mod poll;
pub mod registry;
pub mod seek;
pub mod tasks;
pub mod topic_check;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    fn files(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
    }

    /// A process may have many groups, each with a partition 0.
    #[test]
    fn each_log_line_has_its_group_or_its_task() {
        let mut lines = 0;
        for file in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/consumer")) {
            let text = fs::read_to_string(&file).unwrap();
            for (at, found) in text.match_indices("tracing::") {
                let Some((level, rest)) = text[at + found.len()..].split_once("!(") else { continue };
                if ["error", "warn", "info", "debug", "trace", "$level"].contains(&level) {
                    // Fields come before the message.
                    let (fields, _) = rest.split_once('"').unwrap();
                    let mut words = fields.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                    assert!(words.any(|word| word == "group" || word == "task"), "{}: {fields}", file.display());
                    lines += 1;
                }
            }
        }
        assert!(lines > 50, "{lines}");
    }
}
