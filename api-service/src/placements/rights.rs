//! The rights of callers on videos and what is placed in them.

/// The roles that a caller may have; other roles are ignored.
mod role {
    /// Does everything.
    pub(super) const ADMIN: &str = "admin";
    /// Makes videos, and places products into them.
    pub(super) const EDITOR: &str = "editor";
    /// The same, for a program.
    pub(super) const PLUGIN: &str = "plugin";
    /// Reads everything.
    pub(super) const USER: &str = "user";
}

/// All of them.
pub(super) const ROLES: &[&str] = &[role::ADMIN, role::EDITOR, role::PLUGIN, role::USER];
/// The roles that make and change videos and placements.
pub(super) const EDITORS: &[&str] = &[role::ADMIN, role::EDITOR, role::PLUGIN];
/// The roles that read.
pub(super) const READERS: &[&str] = ROLES;
/// The roles that set products.
pub(super) const ADMINS: &[&str] = &[role::ADMIN];
