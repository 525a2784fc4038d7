//! The SDK module and shorthands for its scripts.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use enforcer_harness::{Builder, Harness, Module};

/// Builds the module; cargo does nothing if it is up to date.
fn build() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let status = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--profile",
            "wasm",
            "--target",
            "wasm32-wasip1",
            "-p",
            "harness-sdk-module",
        ])
        .current_dir(root)
        .status()
        .unwrap();
    assert!(status.success(), "the SDK module does not build");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    target.join("wasm32-wasip1/wasm/harness_sdk_module.wasm")
}

pub(crate) fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(build)
}

pub(crate) fn module() -> &'static Module {
    static MODULE: OnceLock<Module> = OnceLock::new();
    MODULE.get_or_init(|| Module::from_file(path()).unwrap())
}

/// A harness whose module runs this script.
pub(crate) fn builder(script: &str) -> Builder {
    Harness::builder(module()).plugin_config(script)
}

pub(crate) fn start(script: &str) -> Harness {
    builder(script).start().unwrap()
}

/// The lines that streams logged, without those of start and configuration.
pub(crate) fn trace(envoy: &Harness) -> Vec<String> {
    let lines = envoy.logs().into_iter().map(|line| line.text);
    lines.filter(|line| !line.starts_with("vm_start") && !line.starts_with("configure")).collect()
}
