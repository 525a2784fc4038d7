//! What docs/security.md claims.
//!
//! * [`attacks`]: our own list, on every host; [`jwt_attacks`]: a public one.
//! * [`vectors`]: Wycheproof and the JOSE cookbook.
//! * [`caches`], [`flood`]: what a worker remembers, and how much of it.
//! * [`passwords`]: what wrong ones cost.
//! * [`cost`]: what the tokens of both lists cost.
//! * [`fuzzing`]: the fuzz targets, on the stable toolchain.

#![cfg_attr(test, expect(clippy::arithmetic_side_effects, reason = "all numbers are the tests' own"))]

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod bytes;
#[cfg(test)]
mod caches;
#[cfg(test)]
mod cost;
#[cfg(test)]
mod flood;
#[cfg(test)]
mod forgery;
#[cfg(test)]
mod fuzzing;
#[cfg(test)]
mod jwt_attacks;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod page;
#[cfg(test)]
mod passwords;
#[cfg(test)]
mod site;
#[cfg(test)]
mod vectors;
#[cfg(test)]
mod wso2;
