//! Names and passwords, as they are configured.

use enforcer_core::units::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::defaults;

/// Callers with a name and a password (RFC 7617).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Basic {
    /// The content of a file that `htpasswd -B -C 5` or `htpasswd -s` wrote: one `name:hash` a line, of bcrypt
    /// (`$2y$`, `$2b$`, `$2a$`) up to cost 8, or SHA-1 (`{SHA}`).
    pub htpasswd: String,
    /// How much of each second a worker may spend on passwords that it has not seen before. Beyond it: 503.
    #[serde(default = "defaults::password_budget", skip_serializing_if = "defaults::is_password_budget")]
    pub budget: Span,
    /// Leave the password in the request for the backend.
    #[serde(default, skip_serializing_if = "defaults::is_false")]
    pub forward: bool,
}
