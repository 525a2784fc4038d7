//! Tiny filters that hold every host to the same answers
