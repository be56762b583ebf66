//! The settings of advertising.

use std::fmt;
use std::str::FromStr;

use clap::Args;
use shared::ads::AdTopics;
use shared::ads::caps::CapsConfig;

use super::rights::role;
use crate::auth::List;

/// Where ad events go, where caps are counted, and what callers without a token may do.
#[derive(Debug, Clone, Args)]
pub struct AdsConfig {
    #[command(flatten)]
    pub topics: AdTopics,
    #[command(flatten)]
    pub caps: CapsConfig,
    /// The roles of callers without a token in the calls of advertising, `advertiser` and `tracker`, separated by
    /// commas; none if this is not set. For development only: anybody may then make campaigns and spend every
    /// campaign's budget.
    #[arg(long, env, value_parser = List::<AnonymousRole>::parser())]
    pub ads_anonymous_roles: Option<List<AnonymousRole>>,
}

/// A role that callers without a token may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnonymousRole(&'static str);

impl AnonymousRole {
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl FromStr for AnonymousRole {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = [role::ADVERTISER, role::TRACKER];
        let known = allowed.into_iter().find(|role| role.eq_ignore_ascii_case(text));
        known
            .map(Self)
            .ok_or_else(|| format!("{text:?} is no role for callers without a token: {}", allowed.join(", ")))
    }
}

impl fmt::Display for AnonymousRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_an_admin_without_a_token() {
        let read = |text: &str| text.parse::<List<AnonymousRole>>().map(|roles| roles.to_string());
        assert_eq!(read("advertiser, Tracker").as_deref(), Ok("advertiser or tracker"));
        for wrong in ["admin", "tracker,admin", "device", "user", "tracker,", ""] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let refused = read("admin").unwrap_err();
        assert_eq!(refused, "\"admin\" is no role for callers without a token: advertiser, tracker");
    }
}
