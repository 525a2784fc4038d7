//! What `enforcer build` makes of definitions, and the Envoy that runs it.

use std::path::{Path, PathBuf};

use enforcer_adapter::{
    diagnostic::Diagnostics,
    envoy,
    gateway::{Gateway, Input},
};

/// Name of the listener that the adapter makes of port 0.
pub(crate) const LISTENER: &str = "enforcer_0";

/// The auth filter, as `make wasm` leaves it.
pub(crate) fn module() -> PathBuf {
    // Cargo's own folder for tests lies in the target folder, wherever that is.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let file = target.join("wasm32-wasip1/wasm/auth.wasm");
    assert!(file.is_file(), "`{}` is missing: run `make wasm`", file.display());
    file.canonicalize().unwrap()
}

/// The envoy.yaml of `enforcer build -t envoy`.
pub(crate) fn build(definitions: Vec<PathBuf>, settings: PathBuf) -> String {
    let input =
        Input { definitions, settings: Some(settings), development: false, routed: true, online: true };
    let mut findings = Diagnostics::default();
    let Some(gateway) = Gateway::load(&input, &mut findings) else {
        let said: Vec<String> = findings.iter().map(|finding| finding.to_text(false)).collect();
        panic!("the definitions were refused:\n{}", said.concat());
    };
    envoy::envoy(&gateway).into_iter().map(|(_, text)| text).collect()
}
