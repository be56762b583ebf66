//! Placements: what subscribers do with their events.
