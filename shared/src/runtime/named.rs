//! Enums whose variants have names, for labels of metrics, fields of the log, and values of headers.

/// Defines an enum with a name for each variant.
macro_rules! named {
    ($(#[$doc:meta])* $vis:vis $name:ident { $($(#[$of_variant:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        $vis enum $name {
            $($(#[$of_variant])* $variant),+
        }

        impl $name {
            /// The names of all variants.
            $vis const NAMES: [&'static str; [$($text),+].len()] = [$($text),+];

            /// The variant's name.
            $vis const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text),+
                }
            }
        }
    };
}

pub(crate) use named;
