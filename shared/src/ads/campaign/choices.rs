//! The members of a campaign that choose one of a few words.

use crate::runtime::named::named;

/// Defines an enum whose variants have names, and which is parsed from them.
macro_rules! choices {
    ($(#[$doc:meta])* $name:ident { $($(#[$of_variant:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        named!($(#[$doc])* pub $name { $($(#[$of_variant])* $variant = $text),+ });

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(format!("must be one of {}", Self::NAMES.join(", "))),
                }
            }
        }
    };
}

choices!(
    /// What a campaign pays for.
    PricingModel {
        /// A thousand impressions.
        Cpm = "cpm",
        /// A click.
        Cpc = "cpc",
        /// A conversion (an action).
        Cpa = "cpa",
    }
);

choices!(
    /// How a campaign's daily budget is spread over its day.
    #[derive(Default)]
    Pacing {
        /// As soon as possible.
        #[default]
        Asap = "asap",
        /// Evenly: no more than the share of the day that has passed.
        Even = "even",
    }
);

choices!(
    /// A campaign's place in its lifecycle.
    #[derive(Default)]
    Status {
        /// Not active yet.
        Draft = "draft",
        /// It takes events, from its start to its end.
        #[default]
        Active = "active",
        /// It takes no events for now.
        Paused = "paused",
        /// It takes no events any more. No other status follows.
        Ended = "ended",
    }
);

choices!(
    /// What becomes of a conversion that the budget cannot pay for.
    #[derive(Default)]
    OnExhausted {
        /// It is refused.
        #[default]
        Refuse = "refuse",
        /// It is recorded and not billed.
        Record = "record",
    }
);

choices!(
    /// What becomes of a capped impression while it is not known how many the user had.
    #[derive(Default)]
    CapUnsure {
        /// It is refused.
        #[default]
        Refuse = "refuse",
        /// It is taken, and the worker does not bill those over the cap.
        Allow = "allow",
    }
);
