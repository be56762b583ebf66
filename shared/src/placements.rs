//! Placements: products in videos.
