//! `enforcer check`

use std::{path::PathBuf, process::ExitCode};

use super::Shell;
use crate::{
    diagnostic::Diagnostics,
    gateway::{Gateway, Input},
};

/// Say whether definitions and settings can be used; write nothing
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// OpenAPI definitions, YAML or JSON
    #[arg(required = true, value_name = "FILE")]
    definitions: Vec<PathBuf>,
    /// Accept issuers whose keys `enforcer token` made
    #[arg(long, hide = true)]
    development: bool,
}

pub(super) fn run(arguments: &Arguments, shell: &Shell) -> ExitCode {
    let mut findings = Diagnostics::default();
    let input = Input {
        definitions: arguments.definitions.clone(),
        settings: shell.config(),
        development: arguments.development,
        routed: true,
        online: false,
    };
    let gateway = Gateway::load(&input, &mut findings);
    let code = shell.report(&findings);
    if let Some(gateway) = gateway {
        gateway.summary().iter().for_each(|line| shell.say(line));
    }
    code
}
