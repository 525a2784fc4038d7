//! Reading configuration, with errors that say where and what.

mod place;

use std::fmt;

use serde::de::DeserializeOwned;

/// What is wrong with a configuration, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// JSON path of the value: `issuers[0].leeway`. Empty: the configuration as a whole.
    pub path: String,
    /// Lower case, no final period, user input in backticks.
    pub problem: String,
}

impl ConfigError {
    /// `problem` is with the value at `path`.
    pub fn at(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { path: path.into(), problem: problem.into() }
    }

    /// The same error, seen from the value that holds this configuration under `parent` (`auth`, `[1]`).
    #[must_use]
    pub fn under(self, parent: &str) -> Self {
        let joint = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        Self { path: format!("{parent}{joint}{}", self.path), problem: self.problem }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.problem)
    }
}

impl std::error::Error for ConfigError {}

/// Reads a filter's configuration: the bytes of `configuration` in Envoy's `PluginConfig`.
pub fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, ConfigError> {
    match json.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => Err(ConfigError::at(
            "",
            "the configuration is empty; put the filter's settings as JSON into `configuration` of the wasm plugin",
        )),
        Some(_) => serde_json::from_slice(json).map_err(|error| describe(json, &error)),
    }
}

fn describe(json: &[u8], error: &serde_json::Error) -> ConfigError {
    let text = error.to_string();
    // Envoy turns YAML into JSON of one line, where a column says nothing that the path does not say better.
    let place = format!(" at line {} column {}", error.line(), error.column());
    let text = if error.is_data() { text.strip_suffix(&place).unwrap_or(&text) } else { &text };
    ConfigError::at(place::path_at(json, error.line(), error.column()), without_type_name(text))
}

/// serde says `expected struct Issuer`; users know objects.
fn without_type_name(text: &str) -> String {
    match text.rsplit_once("expected struct ") {
        Some((before, named)) => {
            let after = named.trim_start_matches(|c: char| !c.is_whitespace());
            format!("{before}expected an object{after}")
        }
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::units::Span;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        issuers: Vec<Issuer>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Issuer {
        #[serde(rename = "issuer")]
        _issuer: String,
        leeway: Span,
    }

    fn error(json: &str) -> String {
        parse::<Config>(json.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_good_configuration_is_read() {
        let config: Config = parse(br#"{"issuers": [{"issuer": "a", "leeway": "5s"}]}"#).unwrap();
        assert_eq!(config.issuers[0].leeway, Span::from_secs(5));
    }

    #[test]
    fn errors_carry_the_path() {
        assert_eq!(
            error(r#"{"issuers": [{"issuer": "a", "leeway": "5 parsecs"}]}"#),
            "issuers[0].leeway: bad duration `5 parsecs`: give a whole number and a unit: ms, s, m, h or d"
        );
        assert_eq!(
            error(r#"{"issuers": [{"issuer": "a", "leeway": 5}]}"#),
            "issuers[0].leeway: invalid type: integer `5`, expected a duration such as `30s`"
        );
        assert_eq!(
            error(r#"{"issuers": [{"issuer": "a", "leeway": "5s", "audience": 1}]}"#),
            "issuers[0].audience: unknown field `audience`, expected `issuer` or `leeway`"
        );
        assert_eq!(error(r#"{"issuers": [{"issuer": "a"}]}"#), "issuers[0]: missing field `leeway`");
    }

    #[test]
    fn errors_name_no_rust_types() {
        assert_eq!(
            error(r#"{"issuers": ["a"]}"#),
            "issuers[0]: invalid type: string \"a\", expected an object"
        );
        assert_eq!(error("[]"), "invalid length 0, expected an object with 1 element");
    }

    #[test]
    fn broken_json_keeps_its_position() {
        assert_eq!(error("{\"issuers\": [\n{]}"), "issuers[0]: key must be a string at line 2 column 2");
        assert_eq!(error(r#"{"issuers": []} x"#), "trailing characters at line 1 column 17");
        assert_eq!(error(r#"{"issuers": ["#), "issuers: EOF while parsing a list at line 1 column 13");
    }

    #[test]
    fn nothing_at_all_gets_advice() {
        assert!(error("").contains("the configuration is empty"));
        assert!(error(" \n").contains("the configuration is empty"));
    }

    #[test]
    fn an_error_can_be_seen_from_further_out() {
        assert_eq!(ConfigError::at("issuers[0]", "x").under("[1]").path, "[1].issuers[0]");
        assert_eq!(ConfigError::at("[0]", "x").under("apis").path, "apis[0]");
        assert_eq!(ConfigError::at("", "x").under("[1]").path, "[1]");
    }
}
