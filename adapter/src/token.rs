//! Development tokens: a key that is made on the spot, and what is signed with it.

/// Who issues development tokens. `check` and `build` refuse it unless they are told otherwise.
pub const DEVELOPMENT_ISSUER: &str = "urn:enforcer:development";
