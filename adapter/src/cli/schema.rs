//! `enforcer schema`

use std::process::ExitCode;

use super::Shell;
use crate::{diagnostic::Diagnostic, schema};

/// Print the JSON Schema of a file, or the names of all schemas
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// `enforcer.yaml`, or the filter whose configuration is meant
    name: Option<String>,
}

pub(super) fn run(arguments: &Arguments, shell: &Shell) -> ExitCode {
    let names = schema::NAMES.map(|(name, _)| name);
    let Some(name) = &arguments.name else {
        shell.print_result(names.join("\n"));
        return ExitCode::SUCCESS;
    };
    match schema::schema(name) {
        Some(text) => {
            shell.print_result(text.trim_end());
            ExitCode::SUCCESS
        }
        None => shell.fail(
            Diagnostic::error(format!("there is no schema `{name}`"))
                .help(format!("there are: {}", names.map(|name| format!("`{name}`")).join(", "))),
        ),
    }
}
