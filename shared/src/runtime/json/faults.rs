//! The faults of a body, limited so that the response stays small: a limited number of faults, with pointers of limited
//! length. A pointer is never cut: one that is too long ends at an ancestor instead.

/// One fault of a body.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Fault {
    /// The place: a JSON pointer (RFC 6901).
    pub pointer: String,
    /// The fault, as a predicate of which the place is the subject.
    pub detail: String,
}

impl Fault {
    /// A fault that stands for `count` more faults.
    pub fn more(pointer: String, count: usize) -> Self {
        Self { pointer, detail: format!("has {count} more fault{}", if count == 1 { "" } else { "s" }) }
    }
}

/// The most faults in a list: a hostile body could have a hundred thousand.
pub(crate) const MOST: usize = 20;
/// The longest pointer, in bytes.
const LONGEST: usize = 256;

/// The first faults, and the number of further ones.
#[derive(Debug, Default)]
pub struct Faults {
    told: Vec<Fault>,
    more: usize,
}

impl Faults {
    /// Whether there is no fault.
    pub fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// Adds a fault.
    pub fn add(&mut self, at: impl FnOnce() -> Pointer, detail: impl Into<String>) {
        if self.told.len() == MOST {
            self.more += 1;
        } else {
            self.told.push(at().fault(detail.into()));
        }
    }

    /// The list, with the number of further faults at `at`, their common ancestor.
    pub fn list(mut self, at: &str) -> Vec<Fault> {
        if self.more > 0 {
            self.told.push(Fault::more(at.to_owned(), self.more));
        }
        self.told
    }
}

/// A pointer to a place or, if that would be too long, to an ancestor.
pub struct Pointer {
    text: String,
    /// Whether it ends at an ancestor.
    short: bool,
}

/// The pointer to a place that is known to be short.
pub fn at(pointer: &str) -> Pointer {
    Pointer { text: pointer.to_owned(), short: false }
}

impl Pointer {
    /// Appends a member's name.
    #[must_use]
    pub fn then(mut self, name: &str) -> Self {
        self.short |= self.text.len() + name.len() >= LONGEST;
        if !self.short {
            let name = name.replace('~', "~0").replace('/', "~1");
            self.short = self.text.len() + name.len() >= LONGEST;
            if !self.short {
                self.text.push('/');
                self.text.push_str(&name);
            }
        }
        self
    }

    fn fault(self, detail: String) -> Fault {
        let detail = if self.short { format!("has something deeper in it that {detail}") } else { detail };
        Fault { pointer: self.text, detail }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_leads_to_its_place_or_to_an_ancestor() {
        let fault = |pointer: Pointer| {
            let fault = pointer.fault("is bad".into());
            (fault.pointer, fault.detail)
        };
        let long = "x".repeat(LONGEST - 2 - 1);
        assert_eq!(fault(at("/a").then("b/c~d")), ("/a/b~1c~0d".into(), "is bad".into()));
        assert_eq!(fault(at("/a").then(&long)), (format!("/a/{long}"), "is bad".into()));
        let short = ("/a".to_owned(), "has something deeper in it that is bad".to_owned());
        for too_long in [format!("{long}x"), "/".repeat(LONGEST / 2), "x".repeat(100_000)] {
            assert_eq!(fault(at("/a").then(&too_long)), short);
            assert_eq!(fault(at("/a").then(&too_long).then("b")), short, "and it does not go on below");
        }
    }

    #[test]
    fn what_is_not_told_is_counted() {
        let mut faults = Faults::default();
        for _ in 0..MOST {
            faults.add(|| at("/a"), "is bad");
        }
        faults.add(|| panic!("it is not told"), "is bad");
        let list = faults.list("/p");
        assert_eq!(list.len(), MOST + 1);
        assert_eq!(list[MOST], Fault { pointer: "/p".into(), detail: "has 1 more fault".into() });
    }
}
