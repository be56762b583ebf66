//! Which placements overlap.

use std::collections::BinaryHeap;

use super::Item;

/// Whether two placements overlap: on one layer, at one time, in one part of the picture. Ranges and regions are half
/// open, so that those which only touch do not.
pub(super) fn meet(one: &Item<'_>, other: &Item<'_>) -> bool {
    one.layer == other.layer && one.start < other.end && other.start < one.end && one.region.meets(other.region)
}

/// The pairs that overlap, each sorted by id, in the order of the first one's start and id, and the second one's id. Of
/// more than `most`, the first of them and one more.
///
/// Each layer is swept by start: of those that begin later, the ones that begin before an item ends are at one time with
/// it. So placements that follow each other cost nothing; all that are there at once are compared.
pub(super) fn overlaps<'a>(items: &[Item<'a>], most: usize) -> Vec<(Item<'a>, Item<'a>)> {
    let mut layers: Vec<_> = items.iter().enumerate().collect();
    layers.sort_unstable_by_key(|(_, item)| (item.layer, item.start));
    // The greatest is on top, and gives way.
    let mut pairs = BinaryHeap::new();
    for layer in layers.chunk_by(|(_, one), (_, other)| one.layer == other.layer) {
        for (place, one) in layer.iter().enumerate() {
            let later = layer.get(place + 1..).unwrap_or_default();
            let at_once = later.iter().take_while(|(_, other)| other.start < one.1.end);
            for other in at_once.filter(|(_, other)| one.1.region.meets(other.region)) {
                let (first, second) = if one.1.id <= other.1.id { (one, other) } else { (other, one) };
                let pair = (first.1.start, first.1.id, second.1.id, first.0, second.0);
                if pairs.len() <= most {
                    pairs.push(pair);
                } else if let Some(mut last) = pairs.peek_mut().filter(|last| pair < **last) {
                    *last = pair;
                }
            }
        }
    }
    let pairs = pairs.into_sorted_vec();
    pairs.into_iter().filter_map(|(.., one, other)| Some((*items.get(one)?, *items.get(other)?))).collect()
}
