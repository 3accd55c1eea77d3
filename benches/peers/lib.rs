//! Comparative benches live in `benches/`; there is nothing to use here.
