//! Holds the instructions that a request takes to those in `bench/instructions.json`.

use std::{fs, path::Path};

use enforcer_bench::instructions::{self, Instructions};

/// In either direction: what got cheaper is written down too, so that it stays so.
const TOLERANCE: f64 = 0.05;
const UPDATE: &str = "UPDATE=1 cargo test -p enforcer-bench --test instructions";

#[test]
fn a_request_takes_as_many_instructions_as_before() {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let modules = target.join("wasm32-wasip1/wasm");
    assert!(modules.is_dir(), "`{}` is missing: run `make wasm`", modules.display());
    let measured = instructions::measure(&modules).unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.json");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&file, format!("{}\n", serde_json::to_string_pretty(&measured).unwrap())).unwrap();
        return;
    }
    let expected: Instructions = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let differs = |name: &String, now: u64| match expected.get(name) {
        Some(then) => (now as f64 / *then as f64 - 1.0).abs() > TOLERANCE,
        None => true,
    };
    let changed: Vec<String> = measured
        .iter()
        .filter(|(name, now)| differs(name, **now))
        .map(|(name, now)| format!("  {name}: {now}, was {}", expected.get(name).copied().unwrap_or(0)))
        .collect();
    assert!(
        changed.is_empty() && measured.len() == expected.len(),
        "instructions of a request changed by more than 5 %:\n{}\nIf that is meant, write them down with\n  {UPDATE}",
        changed.join("\n")
    );
}
