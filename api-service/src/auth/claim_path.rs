//! Where a claim is, as a setting says it.

use std::fmt::{self, Display};
use std::str::FromStr;

use clap::builder::TypedValueParser;
use shared::runtime::config::trimmed;

/// The place of a claim in a token: a JSON pointer (`/realm_access/roles`), a dotted path (`realm_access.roles`), or a
/// name that has a colon (`cognito:groups`, `https://example.com/roles`), which is taken as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimPath {
    text: String,
    first: String,
    rest: Vec<String>,
}

impl ClaimPath {
    /// The claim at the top that has this name.
    pub fn named(name: &str) -> Self {
        Self { text: name.to_owned(), first: name.to_owned(), rest: Vec::new() }
    }

    /// The names of the members on the way to the claim: the first, and those below it.
    pub fn steps(&self) -> (&str, &[String]) {
        (&self.first, &self.rest)
    }
}

impl Display for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for ClaimPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let steps: Vec<String> = match text.strip_prefix('/') {
            Some(pointer) => pointer.split('/').map(unescaped).collect::<Option<_>>().ok_or_else(|| {
                format!("{text:?} is no JSON pointer (RFC 6901): behind ~ comes 0, for ~ itself, or 1, for /")
            })?,
            None if text.contains(':') => vec![text.to_owned()],
            None if text.contains('/') => {
                return Err(format!(
                    "{text:?} has a slash: as a JSON pointer it begins with /, and has ~1 for / in a name"
                ));
            }
            None => text.split('.').map(str::to_owned).collect(),
        };
        let mut steps = steps.into_iter();
        let (first, rest) = (steps.next().unwrap_or_default(), steps.collect::<Vec<_>>());
        if first.is_empty() || rest.iter().any(String::is_empty) {
            return Err(format!("{text:?} has an empty name"));
        }
        Ok(Self { text: text.to_owned(), first, rest })
    }
}

/// A name in a JSON pointer, without its escapes.
fn unescaped(name: &str) -> Option<String> {
    let mut parts = name.split('~');
    let mut whole = parts.next()?.to_owned();
    for part in parts {
        let (escaped, rest) = part.split_at_checked(1)?;
        whole.push_str(match escaped {
            "0" => "~",
            "1" => "/",
            _ => return None,
        });
        whole.push_str(rest);
    }
    Some(whole)
}

/// The values of a setting, separated by commas; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List<T>(Vec<T>);

/// The places of a claim.
pub type ClaimPaths = List<ClaimPath>;

impl<T> List<T> {
    /// A list of one.
    pub fn one(value: T) -> Self {
        Self(vec![value])
    }

    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    /// A parser of the values, with blanks around each.
    pub fn parser() -> impl TypedValueParser<Value = Self>
    where
        T: FromStr<Err: Display> + Clone + Send + Sync + 'static,
    {
        trimmed(|text: &str| text.parse::<Self>())
    }
}

impl<T: FromStr<Err: Display>> FromStr for List<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let value = |text: &str| match text.trim() {
            "" => Err("there is nothing between two commas, or at an end".to_owned()),
            text => text.parse().map_err(|error: T::Err| error.to_string()),
        };
        text.split(',').map(value).collect::<Result<_, _>>().map(Self)
    }
}

/// As in messages: the values with ` or ` between them.
impl<T: Display> Display for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<_> = self.0.iter().map(T::to_string).collect();
        f.write_str(&texts.join(" or "))
    }
}

/// A role of the issuer, and ours that it stands for: `their-role=device`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleMapping {
    pub theirs: String,
    pub ours: String,
}

impl FromStr for RoleMapping {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Ours have no `=`.
        match text.rsplit_once('=').map(|(theirs, ours)| (theirs.trim(), ours.trim())) {
            Some((theirs, ours)) if !theirs.is_empty() && !ours.is_empty() => {
                Ok(Self { theirs: theirs.to_owned(), ours: ours.to_owned() })
            }
            _ => Err(format!("{text:?} must be a role of the issuer, `=`, and a role of this service")),
        }
    }
}

/// A claim that a token must have, and its value: `token_use=access`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequiredClaim {
    pub path: ClaimPath,
    pub value: String,
}

impl FromStr for RequiredClaim {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=').map(|(path, value)| (path.trim(), value.trim())) {
            Some((path, value)) if !path.is_empty() && !value.is_empty() => {
                Ok(Self { path: path.parse()?, value: value.to_owned() })
            }
            _ => Err(format!("{text:?} must be a claim, `=`, and its value")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn steps(text: &str) -> Vec<String> {
        let path: ClaimPath = text.parse().unwrap();
        assert_eq!(path.to_string(), text);
        let (first, rest) = path.steps();
        [&[first.to_owned()], rest].concat()
    }

    #[test]
    fn pointers_dotted_paths_and_names_with_a_colon() {
        for (text, expected) in [
            ("roles", &["roles"][..]),
            ("/roles", &["roles"]),
            ("realm_access.roles", &["realm_access", "roles"]),
            ("/realm_access/roles", &["realm_access", "roles"]),
            ("/resource_access/my.client/roles", &["resource_access", "my.client", "roles"]),
            ("cognito:groups", &["cognito:groups"]),
            ("https://events.example.com/roles", &["https://events.example.com/roles"]),
            ("/https:~1~1events.example.com~1roles/0", &["https://events.example.com/roles", "0"]),
            ("/a~01~1b", &["a~1/b"]),
        ] {
            assert_eq!(steps(text), expected, "{text}");
        }
        for (bad, why) in [
            ("/", "has an empty name"),
            ("a..b", "has an empty name"),
            (".a", "has an empty name"),
            ("/a//b", "has an empty name"),
            ("/a~2b", "is no JSON pointer"),
            ("/a~", "is no JSON pointer"),
            ("/~é", "is no JSON pointer"),
            ("example.com/roles", "has a slash: as a JSON pointer it begins with /"),
        ] {
            let refused = bad.parse::<ClaimPath>().unwrap_err();
            assert!(refused.contains(why), "{bad}: {refused}");
        }
    }

    proptest! {
        #[test]
        fn every_name_has_a_pointer(names in prop::collection::vec("[a-z~/.:]{1,6}", 1..4)) {
            let escaped = names.iter().map(|name| format!("/{}", name.replace('~', "~0").replace('/', "~1")));
            prop_assert_eq!(steps(&escaped.collect::<String>()), names);
        }
    }

    #[test]
    fn lists_and_pairs() {
        let paths: ClaimPaths = " /realm_access/roles , scope".parse().unwrap();
        assert_eq!(paths.iter().map(ClaimPath::to_string).collect::<Vec<_>>(), ["/realm_access/roles", "scope"]);
        assert_eq!(paths.to_string(), "/realm_access/roles or scope");
        for bad in ["", ",", "a,", "a,,b", " , a"] {
            assert!(bad.parse::<ClaimPaths>().unwrap_err().contains("nothing between two commas"), "{bad}");
        }
        let mapping: RoleMapping = "a=b = device".parse().unwrap();
        assert_eq!(mapping, RoleMapping { theirs: "a=b".into(), ours: "device".into() });
        let required: RequiredClaim = "token_use=a=b".parse().unwrap();
        assert_eq!((required.path.to_string(), &*required.value), ("token_use".into(), "a=b"));
        for bad in ["device", "=device", "a=", "="] {
            assert!(bad.parse::<RoleMapping>().unwrap_err().contains("must be a role of the issuer"), "{bad}");
            assert!(bad.parse::<RequiredClaim>().unwrap_err().contains("must be a claim"), "{bad}");
        }
        assert!("a..b=c".parse::<RequiredClaim>().unwrap_err().contains("empty name"));
    }
}
