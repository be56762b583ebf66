//! A change of a campaign: a JSON merge patch (RFC 7396).

use bytes::Bytes;

use super::campaign::{Change, MEMBERS, Patched, Status, Terms, other};
use crate::runtime::json::members::Members;
use crate::runtime::json::{BodyError, Fault, json};

/// The changes of a campaign's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    changes: Vec<Change>,
    /// The faults of members that cannot be changed, or not to what they were given. What else is wrong, only the
    /// campaign's own terms show, and every fault is reported at once.
    faults: Vec<Fault>,
}

impl Patch {
    /// Parses a merge patch: null removes an optional member, which then has its default. It is an error if the body is no
    /// JSON object; [`Self::apply`] has the faults of its members.
    pub fn parse(body: &Bytes) -> Result<Self, BodyError> {
        let names = MEMBERS.each_ref().map(|member| member.name);
        let mut members = Members::of(json(body)?, "", &names, other)?;
        let mut changes = Vec::new();
        for member in &MEMBERS {
            let Some(raw) = members.get(member.name) else { continue };
            match (member.patched, raw.get()) {
                (Patched::Never, _) => members.fault(member.name, "cannot be changed"),
                (Patched::Set, "null") => members.fault(member.name, "cannot be removed"),
                (Patched::SetOrRemoved, "null") => changes.extend(member.absent.map(|absent| absent())),
                (Patched::Set | Patched::SetOrRemoved, _) => changes.extend(member.read(&mut members)),
            }
        }
        Ok(Self { changes, faults: members.into_faults() })
    }

    /// The patch that only changes the status.
    pub fn of_status(status: Status) -> Self {
        Self { changes: vec![Change::Status(status)], faults: Vec::new() }
    }

    /// The time zone that it sets, if it sets one.
    pub fn timezone(&self) -> Option<&str> {
        self.changes.iter().find_map(|change| match change {
            Change::Timezone(zone) => Some(zone.as_str()),
            _ => None,
        })
    }

    /// The terms after the change, and every fault of the patch, and of these terms.
    pub fn apply(&self, terms: &Terms) -> (Terms, Vec<Fault>) {
        let mut changed = terms.clone();
        for change in &self.changes {
            change.clone().make(&mut changed);
        }
        let mut faults = self.faults.clone();
        faults.extend(changed.faults(&self.faults));
        faults.extend(
            forbidden(terms.status, changed.status)
                .map(|detail| Fault { pointer: "/status".to_owned(), detail: detail.to_owned() }),
        );
        (changed, faults)
    }
}

/// Why a status may not follow another one.
fn forbidden(before: Status, after: Status) -> Option<&'static str> {
    match (before, after) {
        (Status::Ended, Status::Ended) | (Status::Draft, Status::Draft) => None,
        (Status::Ended, _) => Some("cannot be changed: the campaign has ended"),
        (_, Status::Draft) => Some("cannot become draft again"),
        (Status::Draft | Status::Active | Status::Paused, Status::Active | Status::Paused | Status::Ended) => None,
    }
}

#[cfg(test)]
mod tests;
