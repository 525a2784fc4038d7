//! JSON Schemas of what people write, for editors and for reference.

use enforcer_analytics::config::AnalyticsConfig;
use enforcer_auth::config::AuthConfig;
use enforcer_ratelimit::config::RateLimitConfig;
use schemars::{Schema, SchemaGenerator, generate::SchemaSettings};

use crate::settings::Settings;

/// What there are schemas of, and the name of the file that holds each.
pub const NAMES: [(&str, &str); 4] = [
    ("enforcer.yaml", "enforcer.json"),
    ("analytics", "analytics.json"),
    ("auth", "auth.json"),
    ("ratelimit", "ratelimit.json"),
];

/// The schema of `enforcer.yaml` or of a filter's configuration, as JSON text (JSON Schema 2020-12).
pub fn schema(name: &str) -> Option<String> {
    let generator = SchemaGenerator::new(SchemaSettings::draft2020_12());
    let schema: Schema = match name {
        "enforcer.yaml" => generator.into_root_schema_for::<Settings>(),
        "analytics" => generator.into_root_schema_for::<AnalyticsConfig>(),
        "auth" => generator.into_root_schema_for::<AuthConfig>(),
        "ratelimit" => generator.into_root_schema_for::<RateLimitConfig>(),
        _ => return None,
    };
    Some(format!("{:#}\n", schema.as_value()))
}
