//! Runs every case of `tests/cases` on every host there is: `cargo test -p enforcer-tests --test cases`.
//!
//! `CASE=text` runs only those whose file or name contains the text.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Test runners ask for the names of tests first.
    if std::env::args().any(|argument| argument == "--list") {
        if !std::env::args().any(|argument| argument == "--ignored") {
            println!("cases: test");
        }
        return ExitCode::SUCCESS;
    }
    let filter = std::env::var("CASE").unwrap_or_default();
    match enforcer_tests::run_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("cases"), &filter) {
        Ok(report) => {
            println!("{}", report.summary());
            if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
