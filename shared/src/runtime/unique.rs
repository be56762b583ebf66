//! Names that must differ.

use std::collections::HashSet;

/// Refuses a name that occurs twice, in any case. `what` says in the plural what has the names.
pub fn ensure_unique<'a>(what: &str, names: impl IntoIterator<Item = &'a str>) -> anyhow::Result<()> {
    let mut known = HashSet::new();
    for name in names {
        anyhow::ensure!(known.insert(name.to_ascii_lowercase()), "two {what} have the name {name:?}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_occurs_twice_is_refused() {
        let said = |names: &[&str]| ensure_unique("tasks", names.iter().copied()).map_err(|error| error.to_string());
        assert_eq!(said(&["settle", "relay", "rel"]), Ok(()));
        assert_eq!(said(&["settle", "relay", "Relay"]), Err(r#"two tasks have the name "Relay""#.to_owned()));
    }
}
