//! What README.md and the pages in docs/ show is what happens.

#![cfg(test)]

use std::{env, error::Error, fs, path::Path};

use enforcer_adapter::diagnostic::Diagnostics;
use enforcer_adapter::{settings, source};
use enforcer_auth::config::AuthConfig;
use enforcer_bundle::Bundle;
use enforcer_core::config;
use enforcer_core::filter::{Capabilities, Filter as _};
use enforcer_harness::{Harness, Module, Request, Upstream};
use enforcer_ratelimit::RateLimit;
use serde_json::Value;

const HERE: &str = include_str!("readme.rs");

fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)).unwrap()
}

/// The fenced blocks, each with its language.
fn blocks(page: &str) -> impl Iterator<Item = (&str, &str)> {
    page.split("\n```").skip(1).step_by(2).filter_map(|block| block.split_once('\n'))
}

/// The text of the first fenced block that mentions `word`.
fn block(page: &str, word: &str) -> String {
    let mut texts = blocks(page).map(|(_language, text)| text);
    texts.find(|text| text.contains(word)).expect("the page has such a block").to_owned()
}

#[test]
fn the_ten_lines_test_a_filter() -> Result<(), Box<dyn Error>> {
    let target = env::var("CARGO_TARGET_DIR").map_or_else(|_| "../target".into(), std::path::PathBuf::from);
    env::set_current_dir(target.join("wasm32-wasip1/wasm"))
        .map_err(|error| format!("no modules ({error}); run `make wasm`"))?;
    // ten lines
    let module = Module::from_file("auth.wasm")?;
    let mut envoy = Harness::builder(&module)
        .plugin_config(
            r#"{"issuers": [{"issuer": "https://idp", "jwks": {"remote":
            {"cluster": "idp", "url": "https://idp/jwks"}}}]}"#,
        )
        .cluster("idp", Upstream::down())
        .start()?;
    let out = envoy.request(Request::get("/pets").bearer("nonsense"));
    assert_eq!((out.status(), out.details()), (401, "enforcer_auth_token_malformed"));
    assert!(out.backend().is_none());
    // that is all
    Ok(())
}

#[test]
fn the_pages_show_those_ten_lines() {
    let (_, rest) = HERE.split_once("// ten lines\n").unwrap();
    let (lines, _) = rest.split_once("    // that is all").unwrap();
    let shown: Vec<_> = lines.lines().map(|line| line.strip_prefix("    ").unwrap_or(line)).collect();
    let shown = shown.join("\n");
    for name in ["README.md", "docs/harness.md"] {
        let block = block(&page(name), "Module::from_file");
        assert!(block.contains(shown.trim()), "{name} shows something else:\n{block}\n\nexpected:\n{shown}");
    }
}

#[test]
fn the_demo_prints_what_the_readme_shows() {
    let output = page("envoy-examples/quickstart/OUTPUT.txt");
    let shown = block(&page("README.md"), "asked");
    for part in shown.split("\n\n").map(str::trim).filter(|part| *part != "...") {
        assert!(output.contains(part), "the demo does not print this:\n{part}");
    }
}

/// Every configuration that the page shows is that of a case, where it is held to what the page says of it.
#[test]
fn the_configurations_of_the_auth_page_are_cases() {
    let cases: Value = serde_saphyr::from_str(&page("tests/cases/examples.yaml")).unwrap();
    let own = cases["cases"].as_array().unwrap().iter().filter_map(|case| case.get("configuration"));
    let configurations: Vec<&Value> = own.chain([&cases["configuration"]]).collect();
    let page = page("docs/auth.md");
    let is_whole = |text: &str| serde_json::from_str::<AuthConfig>(text).is_ok();
    let whole = blocks(&page).filter(|(language, text)| *language == "json" && is_whole(text));
    let shown: Vec<Value> = whole.map(|(_, text)| serde_json::from_str(text).unwrap()).collect();
    assert_eq!(shown.len(), configurations.len());
    for example in &shown {
        assert!(configurations.contains(&example), "tests/cases/examples.yaml has no case for {example}");
    }
}

/// Every configuration on the page is accepted, and every field of events is explained.
#[test]
fn the_analytics_page_is_true() {
    use enforcer_core::filter::{Capabilities, Filter as _};
    let page = page("docs/analytics.md");
    let shown: Vec<&str> =
        blocks(&page).filter(|(language, _)| *language == "json").map(|(_, text)| text).collect();
    assert_eq!(shown.len(), 5);
    for text in shown {
        let config = enforcer_core::config::parse(text.as_bytes()).unwrap();
        enforcer_analytics::Analytics::new(config, Capabilities::default()).unwrap();
    }
    for name in enforcer_analytics::event::FIELDS {
        assert!(page.contains(&format!("`{name}`")), "the page does not explain `{name}`");
    }
}

#[test]
fn the_configurations_of_the_rate_limit_page_are_accepted() {
    let page = page("docs/rate-limiting.md");
    let shown: Vec<&str> =
        blocks(&page).filter(|(language, _)| *language == "json").map(|(_, text)| text).collect();
    assert_eq!(shown.len(), 2);
    let alone = config::parse(shown[0].as_bytes()).unwrap();
    RateLimit::new(alone, Capabilities::default()).unwrap();
    let bundled = config::parse(shown[1].as_bytes()).unwrap();
    Bundle::new(bundled, Capabilities::default()).unwrap();
}

#[test]
fn the_settings_that_pages_show_are_accepted() {
    for name in [
        "docs/enforcer-yaml.md",
        "docs/openapi.md",
        "docs/cli.md",
        "docs/analytics.md",
        "docs/rate-limiting.md",
    ] {
        for (_, text) in blocks(&page(name)).filter(|(language, _)| *language == "yaml") {
            let mut findings = Diagnostics::default();
            let document = source::parse(&source::Source::new(name, text)).unwrap();
            settings::settings(&document, &mut findings);
            let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
            assert!(findings.is_empty(), "{name}: {findings:?} in\n{text}");
        }
    }
}
