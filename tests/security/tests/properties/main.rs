//! Properties of what reads tokens, for any input.

#![cfg_attr(test, expect(clippy::arithmetic_side_effects, reason = "all numbers are the tests' own"))]

#[cfg(test)]
mod claims;
#[cfg(test)]
mod sources;
#[cfg(test)]
mod spelling;
#[cfg(test)]
mod values;
