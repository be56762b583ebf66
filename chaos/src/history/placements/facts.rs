//! The lines of placements in the file of a history.

use serde::{Deserialize, Serialize};

use super::{
    DomainLetter, DomainRecord, FileRead, FileRow, InboxRow, KnownCampaign, LeftBehind, Number, Object, OutboxRow,
    PlacementRow, Placements, PlacementsEnd, ProductRow, Restored, Tried, ValidationRead, ValidationRow, VideoRead,
    VideoRow,
};

/// Declares the facts, each with the list that holds it.
macro_rules! facts {
    (observed { $($fact:ident($kind:ty) in $list:ident,)* } end { $($end_fact:ident($end_kind:ty) in $end_list:ident,)* }) => {
        #[derive(Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub(in crate::history) enum PlacementFact {
            $($fact($kind),)*
            $($end_fact($end_kind),)*
        }

        impl PlacementFact {
            pub(in crate::history) fn all(observed: Placements, end: PlacementsEnd) -> impl Iterator<Item = Self> {
                std::iter::empty()
                    $(.chain(observed.$list.into_iter().map(Self::$fact)))*
                    $(.chain(end.$end_list.into_iter().map(Self::$end_fact)))*
            }

            pub(in crate::history) fn put_into(self, observed: &mut Placements, end: &mut PlacementsEnd) {
                match self {
                    $(Self::$fact(fact) => observed.$list.push(fact),)*
                    $(Self::$end_fact(fact) => end.$end_list.push(fact),)*
                }
            }
        }
    };
}

facts! {
    observed {
        Restored(Restored) in restored,
        Tried(Tried) in tries,
        FileRead(FileRead) in files,
        VideoRead(VideoRead) in videos,
        ValidationRead(ValidationRead) in validations,
    }
    end {
        Video(VideoRow) in videos,
        Placement(PlacementRow) in placements,
        Product(ProductRow) in products,
        Validation(ValidationRow) in validations,
        File(FileRow) in files,
        Object(Object) in objects,
        Campaign(KnownCampaign) in campaigns,
        Number(Number) in numbers,
        Outbox(OutboxRow) in outbox,
        Inbox(InboxRow) in inbox,
        Record(DomainRecord) in records,
        Letter(DomainLetter) in letters,
        Left(LeftBehind) in left,
    }
}
