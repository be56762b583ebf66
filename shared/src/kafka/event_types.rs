//! The types of a domain's events.

/// An enum of a domain's event types, each with what CloudEvents has as its `type`, so that a new one does not compile
/// until every `match` has it.
macro_rules! event_types {
    ($(#[$doc:meta])* $vis:vis $name:ident { $($(#[$of_type:meta])* $type:ident = $text:literal),+ $(,)? }) => {
        $crate::runtime::named::named!($(#[$doc])* $vis $name { $($(#[$of_type])* $type = $text),+ });

        impl $name {
            /// Every type, as CloudEvents has it.
            $vis const ALL: &'static [&'static str] = &Self::NAMES;
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok(Self::$type),)+
                    _ => Err(format!("unknown event type {:?}", $crate::runtime::json::shown(text))),
                }
            }
        }
    };
}

pub(crate) use event_types;

#[cfg(test)]
mod tests {
    event_types!(
        /// Of two.
        Both { One = "one.v1", Two = "two.v1" }
    );

    #[test]
    fn a_type_is_its_own_text() {
        assert_eq!(Both::ALL, ["one.v1", "two.v1"]);
        for event_type in [Both::One, Both::Two] {
            assert_eq!(event_type.as_str().parse(), Ok(event_type));
        }
        assert_eq!("One".parse::<Both>(), Err("unknown event type \"One\"".to_owned()));
    }
}
