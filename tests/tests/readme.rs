//! What README.md and docs/harness.md show is what happens.

#![cfg(test)]

use std::{env, error::Error, fs, path::Path};

use enforcer_harness::{Harness, Module, Request, Upstream};

const HERE: &str = include_str!("readme.rs");

fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)).unwrap()
}

/// The text of the first fenced block that mentions `word`.
fn block(page: &str, word: &str) -> String {
    let fenced = page.split("\n```").skip(1).step_by(2);
    let mut texts = fenced.filter_map(|block| block.split_once('\n')).map(|(_language, text)| text);
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
