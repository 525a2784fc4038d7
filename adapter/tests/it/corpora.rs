//! A hundred definitions that people really publish.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use enforcer_adapter::{
    diagnostic::{Diagnostics, Severity},
    envoy,
    gateway::{Gateway, Input},
    source::{Source, parse},
};

use crate::folder::Folder;

/// The folder that a variable names; `None`, and a line that says so, when it is not set.
fn folder(variable: &str) -> Option<PathBuf> {
    let Some(path) = std::env::var_os(variable) else {
        println!("skipped: {variable} is not set");
        return None;
    };
    let path = PathBuf::from(path);
    assert!(path.is_dir(), "{variable} names `{}`, which is not a folder", path.display());
    Some(path)
}

fn definitions(folder: PathBuf) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Loads a definition with every scheme that cannot be verified mapped to a token, as a user would after the
/// first run has named them.
fn load(path: PathBuf, folder: &Folder) -> (Option<Gateway>, Diagnostics) {
    let root = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    load_with(path, &root, folder)
}

fn load_with(path: PathBuf, root: &serde_json::Value, folder: &Folder) -> (Option<Gateway>, Diagnostics) {
    let schemes = root["components"]["securitySchemes"].as_object();
    let schemes: serde_json::Map<String, serde_json::Value> =
        schemes.into_iter().flatten().map(|(name, _)| (name.clone(), "jwt".into())).collect();
    let settings = serde_json::json!({
        "issuers": [{"issuer": "https://idp.example.com", "jwks": "https://idp.example.com/jwks"}],
        "auth": {"schemes": schemes},
        "defaults": {"backend": "https://backend.example.com", "modules": "auth.wasm"},
    });
    folder.write("enforcer.yaml", settings.to_string());
    let input = Input {
        definitions: vec![path],
        settings: Some(folder.file("enforcer.yaml")),
        development: false,
        routed: true,
        online: true,
    };
    let mut findings = Diagnostics::default();
    (Gateway::load(&input, &mut findings), findings)
}

#[test]
fn real_definitions_are_built_or_refused_with_a_reason() {
    let Some(corpora) = folder("ENFORCER_CORPORA") else { return };
    let files = definitions(corpora.join("openapi/specs"));
    let scratch = Folder::new(&[]);
    let (mut built, mut operations, mut refused) = (0, 0, Vec::new());
    for path in &files {
        let started = Instant::now();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        match load(path.clone(), &scratch) {
            (Some(gateway), _) => {
                built += 1;
                operations += gateway.auth.apis.iter().map(|api| api.operations.len()).sum::<usize>();
                assert!(!envoy::envoy(&gateway).is_empty());
            }
            (None, findings) => {
                for finding in findings.iter().filter(|finding| finding.severity() == Severity::Error) {
                    let place = finding.place().unwrap_or_else(|| panic!("{name}: no place: {finding}"));
                    assert!(finding.to_json().get("help").is_some(), "{name}: no help: {finding}");
                    assert!(finding.to_text(false).len() < 4_000, "{name}: {}", finding.to_text(false));
                    refused.push(format!("{name}:{}: {finding}", place.position().0));
                }
            }
        }
        if name.starts_with("large-") {
            println!("{name}: {:.2?}", started.elapsed());
        }
    }
    refused.dedup_by_key(|line| line.split(':').next().unwrap().to_owned());
    println!("{built} of {} definitions built, with {operations} operations; refused:", files.len());
    refused.iter().for_each(|line| println!("  {line}"));
    // Those that are left have paths that no request could have: queries and fragments in them.
    assert!(built >= 90, "{built} of {} definitions could be built", files.len());
    assert_eq!(built + refused.len(), files.len());
}

#[test]
fn official_examples_are_read_or_refused_by_version() {
    let Some(corpora) = folder("ENFORCER_CORPORA") else { return };
    let mut read = 0;
    for version in ["v2.0", "v3.0", "v3.1"] {
        let base = corpora.join("openapi/oai-examples").join(version);
        for path in walk(&base) {
            if !matches!(path.extension().and_then(|end| end.to_str()), Some("json" | "yaml" | "yml")) {
                continue;
            }
            let mut findings = Diagnostics::default();
            let input = Input {
                definitions: vec![path.clone()],
                settings: None,
                development: false,
                routed: true,
                online: false,
            };
            let gateway = Gateway::load(&input, &mut findings);
            assert_eq!(gateway.is_none(), findings.failed(), "{}", path.display());
            let swagger = findings
                .iter()
                .any(|finding| finding.to_string().contains("this is a Swagger 2.0 definition"));
            assert!(gateway.is_none() || version != "v2.0", "{}", path.display());
            assert!(!swagger || version == "v2.0", "{}", path.display());
            read += 1;
        }
    }
    println!("{read} official examples read");
    assert!(read > 0);
}

/// Choreo Connect's own samples, of which each shows an extension.
#[test]
fn samples_of_choreo_connect_are_built_or_refused_with_a_reason() {
    let Some(samples) = folder("ENFORCER_SAMPLES") else { return };
    let scratch = Folder::new(&[]);
    let mut built = 0;
    for path in walk(&samples.join("choreo-connect/openapi")) {
        let text = std::fs::read_to_string(&path).unwrap();
        let document = parse(&Source::new("sample", text)).unwrap();
        let (gateway, findings) = load_with(path.clone(), &document.root.to_json(), &scratch);
        match gateway {
            Some(gateway) => {
                assert_eq!(gateway.auth.apis.len(), 1);
                built += 1;
            }
            None => assert!(findings.failed(), "{}", path.display()),
        }
    }
    println!("{built} samples built");
    assert!(built >= 6, "{built}");
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()) {
        if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}
