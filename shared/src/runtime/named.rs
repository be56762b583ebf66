//! Enums whose variants have names: labels of metrics, fields of the log, values of headers.

/// An enum, each of its variants with its name.
macro_rules! named {
    ($(#[$doc:meta])* $vis:vis $name:ident { $($(#[$of_variant:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        $vis enum $name {
            $($(#[$of_variant])* $variant),+
        }

        impl $name {
            /// The names of all.
            $vis const NAMES: [&'static str; [$($text),+].len()] = [$($text),+];

            /// Its name.
            $vis const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text),+
                }
            }
        }
    };
}

pub(crate) use named;
