//! What the demo prints, without what differs between machines and runs.

use std::path::Path;

use crate::running::word;

/// The demo's output as the documentation quotes it.
pub(crate) const COMMITTED: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../envoy-examples/quickstart/OUTPUT.txt");

/// With the values of the committed output.
pub(crate) fn normalised(printed: &str) -> String {
    let temp = std::env::temp_dir().join("enforcer-demo-").display().to_string();
    let built = Path::new(env!("CARGO_BIN_EXE_enforcer-demo")).parent().unwrap().display().to_string();
    let mut text = printed
        .replace(&temp, "/tmp/enforcer-demo-")
        .replace(&built, "~/enforcer/target/debug")
        .replace(word(printed, "gateway"), "http://127.0.0.1:8080")
        .replace(word(printed, "backend"), "http://127.0.0.1:3000");
    for (before, after, value) in [("/tmp/enforcer-demo-", "/ .", "x7Kq2m"), ("  Envoy ", " ", "1.40.0")] {
        text = replaced(&text, before, after, value);
    }
    text
}

/// `value` in place of everything between `before` and the next of the characters `after`.
fn replaced(text: &str, before: &str, after: &str, value: &str) -> String {
    let mut parts = text.split(before);
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |all, part| all + before + value + part.trim_start_matches(|c| !after.contains(c)))
}

/// With each command in one line: where it is broken depends on how long this machine's paths are.
pub(crate) fn joined(text: &str) -> String {
    let mut lines = text.split(" \\\n");
    let first = lines.next().unwrap().to_owned();
    lines.fold(first, |all, line| all + " " + line.trim_start())
}
