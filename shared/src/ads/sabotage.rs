//! Mistakes that a build for tests makes on purpose, so that `make chaos` shows that it would notice each of them
//! (`chaos/sabotages`). Only a build with the feature `sabotage` has them, and a release cannot be such a build.

use crate::runtime::named::named;

#[cfg(all(feature = "sabotage", not(debug_assertions)))]
compile_error!("the feature `sabotage` makes mistakes on purpose: a release must not have it");

named!(
    /// A mistake about money, caps or reports.
    pub Sabotage {
        /// The money of an event whose outcome is unknown is spent again.
        ReusedUnit = "reused-unit",
        /// Caps count tries, not ids.
        CountedTries = "counted-tries",
        /// A release takes an id out whoever put it in.
        AnyRelease = "any-release",
        /// A Redis that does not have a set of ids is believed, although it may have forgotten it.
        TrustedAbsence = "trusted-absence",
        /// Leases are closed before their last events are applied.
        EarlySettlement = "early-settlement",
        /// An event belongs to the day in which it is applied.
        DayOfApplying = "day-of-applying",
        /// A lease does not end with its day.
        MidnightLease = "midnight-lease",
        /// A price is computed as a float.
        FloatMoney = "float-money",
        /// An event without room is an error of its data.
        RaisedRefusal = "raised-refusal",
        /// Reports have no fences.
        NoReportFence = "no-report-fence",
        /// The books are read without a lock.
        UnlockedBooks = "unlocked-books",
    }
);

/// Whether this process makes this mistake: the environment variable `SABOTAGE` names it.
#[cfg(feature = "sabotage")]
pub fn makes(mistake: Sabotage) -> bool {
    static NAMED: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    *NAMED.get_or_init(|| std::env::var("SABOTAGE").unwrap_or_default()) == mistake.as_str()
}

/// No.
#[cfg(not(feature = "sabotage"))]
pub const fn makes(_: Sabotage) -> bool {
    false
}
