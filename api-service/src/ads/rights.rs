//! The rights of callers on campaigns and their events.

use shared::ads::queries::campaigns::Viewer;

use crate::auth::Caller;

/// The roles that a caller may have; other roles are ignored.
pub(super) mod role {
    /// Manages every campaign, and sends every event.
    pub(in crate::ads) const ADMIN: &str = "admin";
    /// Manages the campaigns that it has made.
    pub(in crate::ads) const ADVERTISER: &str = "advertiser";
    /// Sends every event.
    pub(in crate::ads) const TRACKER: &str = "tracker";
    /// Sends events of the user who is its subject, and no conversions.
    pub(in crate::ads) const DEVICE: &str = "device";
}

/// All of them.
pub(super) const ROLES: &[&str] = &[role::ADMIN, role::ADVERTISER, role::TRACKER, role::DEVICE];
/// The roles that manage campaigns, and read reports.
pub(super) const MANAGERS: &[&str] = &[role::ADMIN, role::ADVERTISER];

/// The owner of the campaigns that this caller makes. Those of callers without a token belong to nobody: the subject of
/// no token owns them.
pub(super) fn owner(caller: &Caller) -> Option<&str> {
    (!caller.is_anonymous).then_some(&caller.subject)
}

/// Whose campaigns this caller sees and changes.
pub(super) fn viewer(caller: &Caller) -> Viewer<'_> {
    if caller.has_any(&[role::ADMIN]) { Viewer::All } else { Viewer::Owner(owner(caller)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(subject: &str, roles: &[&str]) -> Caller {
        let roles = roles.iter().map(|&role| role.to_owned()).collect();
        Caller { subject: subject.to_owned(), is_anonymous: false, ..Caller::anonymous(roles) }
    }

    #[test]
    fn an_admin_sees_all_and_everybody_else_their_own() {
        assert_eq!(viewer(&caller("a", &["advertiser"])), Viewer::Owner(Some("a")));
        assert_eq!(viewer(&caller("a", &["advertiser", "admin"])), Viewer::All);
        let nobody = Caller::anonymous(vec!["advertiser".to_owned()]);
        assert_eq!((viewer(&nobody), owner(&nobody)), (Viewer::Owner(None), None));
        // A token may have the name of callers without one.
        let named = caller(&nobody.subject, &["advertiser"]);
        assert_eq!(viewer(&named), Viewer::Owner(Some("anonymous")));
    }
}
