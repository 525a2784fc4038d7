//! `enforcer build`

use std::{path::PathBuf, process::ExitCode};

use clap::ValueEnum;

use super::Shell;
use crate::{
    diagnostic::Diagnostics,
    envoy::{self, Files},
    gateway::{Gateway, Input},
    output,
};

/// Write Envoy configuration for API definitions
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// OpenAPI definitions, YAML or JSON
    #[arg(required = true, value_name = "FILE")]
    definitions: Vec<PathBuf>,
    /// What to write
    #[arg(short, long, value_enum)]
    target: Target,
    /// Folder to write into; made if it is not there
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Accept issuers whose keys `enforcer token` made
    #[arg(long, hide = true)]
    development: bool,
}

/// What to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Target {
    /// envoy.yaml with everything in it
    Envoy,
    /// HTTP filters and clusters, for the Envoy that you have
    EnvoyFilters,
    /// envoy.yaml and the files that it watches: changes take effect while Envoy runs
    EnvoyXds,
}

pub(super) fn run(arguments: &Arguments, shell: &Shell) -> ExitCode {
    let mut findings = Diagnostics::default();
    if let Some(gateway) = load(arguments, shell, &mut findings) {
        write(&gateway, arguments, shell, &mut findings);
    }
    shell.report(&findings)
}

fn load(arguments: &Arguments, shell: &Shell, findings: &mut Diagnostics) -> Option<Gateway> {
    let input = Input {
        definitions: arguments.definitions.clone(),
        settings: shell.config(),
        development: arguments.development,
        online: true,
    };
    Gateway::load(&input, findings)
}

fn write(gateway: &Gateway, arguments: &Arguments, shell: &Shell, findings: &mut Diagnostics) {
    let Some(files) = render(gateway, arguments, findings) else { return };
    gateway.summary().iter().for_each(|line| shell.detail(line));
    if let Some(written) = findings.take(output::write(&arguments.output, &files)) {
        for path in &written {
            shell.say(format_args!("wrote {}", path.display()));
        }
        if written.is_empty() {
            shell.say("nothing has changed");
        }
    }
}

fn render(gateway: &Gateway, arguments: &Arguments, findings: &mut Diagnostics) -> Option<Files> {
    findings.take(gateway.check_surroundings())?;
    Some(match arguments.target {
        Target::Envoy => envoy::envoy(gateway),
        Target::EnvoyFilters => envoy::envoy_filters(gateway),
        Target::EnvoyXds => {
            // Envoy may be started from another folder than this command.
            let folder = std::path::absolute(&arguments.output).unwrap_or_else(|_| arguments.output.clone());
            envoy::envoy_xds(gateway, &folder.display().to_string())
        }
    })
}
