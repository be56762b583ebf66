use axum::http::HeaderValue;

use super::*;

fn headers(length: &'static str) -> HeaderMap {
    [(header::CONTENT_LENGTH, HeaderValue::from_static(length))].into_iter().collect()
}

#[test]
fn what_is_known_to_find_no_room_is_not_begun() {
    let in_flight = InFlight::new(100);
    let mut held = in_flight.room(&HeaderMap::new(), 80).unwrap();
    held.cover(50).unwrap();
    assert_eq!(in_flight.room(&headers("51"), 80).unwrap_err().code, Code::OVERLOADED);
    for fits in ["50", "0", "x", "-1"] {
        in_flight.room(&headers(fits), 80).unwrap();
    }
    in_flight.room(&headers("99999999999999999999"), 50).unwrap();
    assert!(in_flight.room(&headers("1000"), 51).is_err());
    assert_eq!(in_flight.room(&headers("1000"), 50).unwrap().cover(51).unwrap_err().code, Code::OVERLOADED);
}

/// Random operations, compared with plain sums.
#[test]
fn the_shares_are_what_their_bodies_hold() {
    use std::hash::{BuildHasher as _, RandomState};
    const ALL: usize = 68 * 1024 * 1024;
    const MOST: usize = ALL / SHARE;
    const SLOW_BODIES: usize = 8;
    struct Held {
        owner: &'static str,
        bytes: usize,
        is_slow: bool,
        permit: MemoryPermit,
    }
    let seed = RandomState::new().hash_one(0);
    println!("seed {seed}");
    assert_eq!(InFlight::new(MOST).0.of_one_subject, LARGEST_BODY, "the largest body finds room");
    assert_eq!(InFlight::new(MOST).0.of_slow, LARGEST_BODY, "a slow one, too");
    let in_flight = InFlight::of_bodies(ALL, SLOW_BODIES);
    let mut bodies: Vec<Held> = Vec::new();
    let mut state = seed;
    let mut below = |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % limit
    };
    for _ in 0..20_000 {
        let owner = ["a", "b", "c", "d", "e", "f"][below(6)];
        let what = below(6);
        if what == 0 {
            bodies.push(Held { owner, bytes: 0, is_slow: false, permit: in_flight.empty().of(owner) });
        } else if !bodies.is_empty() {
            let place = below(bodies.len());
            let sum = |of: &dyn Fn(&Held) -> bool| {
                bodies.iter().filter(|body| of(body)).map(|body| body.bytes).sum::<usize>()
            };
            let Held { owner, bytes, is_slow, .. } = bodies[place];
            let ours = sum(&|body| body.owner == owner);
            let (all, slow) = (sum(&|_| true), sum(&|body| body.is_slow));
            let our_slow = sum(&|body| body.is_slow && body.owner == owner);
            let slow_ones = |of: Option<&str>| {
                bodies.iter().filter(|body| body.is_slow && of.is_none_or(|of| of == body.owner)).count()
            };
            let has_place = slow_ones(None) < SLOW_BODIES && slow_ones(Some(owner)) < SLOW_BODIES / SHARE;
            let others = slow_ones(Some(owner)) - usize::from(is_slow);
            let has_room = |bytes: usize, more: usize| {
                let most = ALL / SLOW_SHARE / RESERVE * if bytes <= SMALL_BODY { RESERVE } else { RESERVE - 1 };
                slow + more <= most && (others == 0 || our_slow + more <= ALL / SLOW_SHARE / SHARE)
            };
            let body = &mut bodies[place];
            match what {
                1 => drop(bodies.swap_remove(place)),
                2 => {
                    let fits = is_slow || (has_place && has_room(bytes, bytes));
                    assert_eq!(body.permit.slow().is_ok(), fits, "{owner}: slow with {bytes}");
                    body.is_slow = fits;
                }
                3 => {
                    body.permit.arrived();
                    body.is_slow = false;
                }
                4 => {
                    let less = below(bytes + 1);
                    body.permit.shrink(less);
                    body.bytes = less;
                }
                _ => {
                    let wanted = below(7 * 1024 * 1024);
                    let more = wanted.saturating_sub(bytes);
                    let fits =
                        more == 0 || (ours + more <= MOST && all + more <= ALL && (!is_slow || has_room(wanted, more)));
                    assert_eq!(body.permit.cover(wanted).is_ok(), fits, "{owner}: {more} more");
                    body.bytes += if fits { more } else { 0 };
                }
            }
        }
        let all: usize = bodies.iter().map(|body| body.bytes).sum();
        assert_eq!(in_flight.left(), ALL - all);
        let taken = in_flight.taken();
        let of_slow = || bodies.iter().filter(|body| body.is_slow);
        assert_eq!((taken.slow_bodies, taken.of_slow), (of_slow().count(), of_slow().map(|body| body.bytes).sum()));
        for (subject, of) in &taken.subjects {
            let held: usize = bodies.iter().filter(|body| *body.owner == **subject).map(|body| body.bytes).sum();
            let slow = || of_slow().filter(|body| *body.owner == **subject);
            let (slow_bodies, slow_bytes) = (slow().count(), slow().map(|body| body.bytes).sum());
            assert_eq!(*of, OfSubject { bytes: held, slow_bodies, slow_bytes }, "{subject}");
            assert_ne!(*of, OfSubject::default(), "{subject} has nothing");
        }
        assert_eq!(taken.subjects.values().map(|of| of.bytes).sum::<usize>(), all);
    }
}

fn slow(in_flight: &InFlight, subject: &str, bytes: usize) -> Result<MemoryPermit, Problem> {
    let mut permit = in_flight.empty().of(subject);
    permit.cover(bytes)?;
    permit.slow()?;
    Ok(permit)
}

#[test]
fn slow_bodies_leave_the_others_their_memory() {
    let in_flight = InFlight::of_bodies(4 * LARGEST_BODY, 100);
    let small = |subject: &str| slow(&in_flight, subject, SMALL_BODY);
    // Half of the memory is 34 MiB; large bodies end at 25.
    let mut held = vec![slow(&in_flight, "a", LARGEST_BODY).unwrap(), slow(&in_flight, "b", LARGEST_BODY / 2).unwrap()];
    assert_eq!(slow(&in_flight, "c", SMALL_BODY + 1).unwrap_err().code, Code::OVERLOADED);
    held.extend(["c", "d"].into_iter().flat_map(|subject| (0..4).map(move |_| subject)).map(|of| small(of).unwrap()));
    assert_eq!(small("e").unwrap_err().code, Code::OVERLOADED);
    let mut late = slow(&in_flight, "e", 0).unwrap();
    assert_eq!(late.cover(SMALL_BODY).unwrap_err().code, Code::OVERLOADED);
    let mut quick = in_flight.empty().of("f");
    quick.cover(LARGEST_BODY).unwrap();
    held.pop();
    late.cover(SMALL_BODY).unwrap();
}

/// Two senders with two stalled batches each had all of the memory.
#[test]
fn a_few_stalled_batches_shut_out_no_single_events() {
    const BATCH: usize = 8 * 1024 * 1024;
    let in_flight = InFlight::of_bodies(64 * 1024 * 1024, 100);
    let batch = |subject: &str| slow(&in_flight, subject, BATCH);
    let stalled: Vec<_> = ["a", "b", "c"].into_iter().map(|subject| batch(subject).unwrap()).collect();
    for subject in ["a", "b", "c"] {
        assert_eq!(batch(subject).unwrap_err().code, Code::OVERLOADED, "{subject}: one batch is its share");
        assert_eq!(slow(&in_flight, subject, 20_000).unwrap_err().code, Code::OVERLOADED, "{subject}");
    }
    let events: Vec<_> = (0..80).map_while(|n| slow(&in_flight, &format!("modem-{n}"), 100_000).ok()).collect();
    assert_eq!(events.len(), 80);
    // One subject has a quarter of it in small bodies, too.
    drop((stalled, events));
    let of_one: Vec<_> = (0..100).map_while(|_| slow(&in_flight, "a", SMALL_BODY).ok()).collect();
    assert_eq!(of_one.len(), 8);
}
