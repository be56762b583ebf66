//! The types of a domain's events.

use crate::runtime::json::shown;

/// Defines an enum of a domain's event types, each with its CloudEvents `type`. A new type does not compile until every
/// `match` handles it.
macro_rules! event_types {
    ($(#[$doc:meta])* $vis:vis $name:ident { $($(#[$of_type:meta])* $type:ident = $text:literal),+ $(,)? }) => {
        $crate::runtime::named::named!($(#[$doc])* $vis $name { $($(#[$of_type])* $type = $text),+ });

        impl $name {
            /// The CloudEvents `type` of every variant.
            $vis const ALL: &'static [&'static str] = &Self::NAMES;
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok(Self::$type),)+
                    _ => Err($crate::kafka::unknown_type(text, Self::ALL)),
                }
            }
        }
    };
}

pub(crate) use event_types;

/// The error for a rejected type, with the accepted types.
pub(crate) fn unknown_type(text: &str, accepted: &[&str]) -> String {
    format!("unknown event type {:?}; accepted: {}", shown(text), accepted.join(", "))
}

#[cfg(test)]
mod tests {
    event_types!(
        /// Two types.
        Both { One = "one.v1", Two = "two.v1" }
    );

    #[test]
    fn a_type_is_its_own_text() {
        assert_eq!(Both::ALL, ["one.v1", "two.v1"]);
        for event_type in [Both::One, Both::Two] {
            assert_eq!(event_type.as_str().parse(), Ok(event_type));
        }
        assert_eq!("One".parse::<Both>(), Err("unknown event type \"One\"; accepted: one.v1, two.v1".to_owned()));
    }
}
