//! Whether a policy blocks, or only says what it would have done.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a decision is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Refuse what the policy refuses.
    #[default]
    Enforce,
    /// Decide, count and log, but never block.
    Shadow,
}
