//! The `enforcer` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    enforcer_adapter::cli::run(std::env::args_os())
}
