//! Compiled modules that outlive the process.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::{
    binary::Server,
    talk::{PASS, module},
};

/// The one file in a cache.
fn kept(cache: &Path) -> PathBuf {
    let files: Vec<_> = fs::read_dir(cache).unwrap().map(|file| file.unwrap().path()).collect();
    let [file] = <[_; 1]>::try_from(files).unwrap();
    file
}

#[test]
fn a_module_is_compiled_by_the_first_process_only() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let configured = folder.path().join("configured");
    fs::create_dir(&configured).unwrap();
    fs::write(configured.join("m.wasm"), module(PASS)).unwrap();
    let config = json!({ "filters": { "*": { "module": "m.wasm", "configuration": {} } } });
    fs::write(configured.join("enforcer.json"), config.to_string()).unwrap();
    let written = || fs::metadata(kept(&cache)).unwrap().modified().unwrap();
    drop(Server::start(&configured, &["--cache", cache.to_str().unwrap()]));
    let first = written();
    drop(Server::start(&configured, &["--cache", cache.to_str().unwrap()]));
    assert_eq!(written(), first, "what is good stays");
    fs::write(kept(&cache), "damaged").unwrap();
    drop(Server::start(&configured, &["--cache", cache.to_str().unwrap()]));
    assert!(fs::metadata(kept(&cache)).unwrap().len() > 100, "what is not is compiled anew");
    // A cache that cannot be had is no reason not to serve.
    drop(Server::start(&configured, &["--cache", "/proc/none"]));
}
