//! `enforcer attach`

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use super::Shell;
use crate::{
    attach::{self, Outcome},
    diagnostic::{Diagnostic, Diagnostics},
    gateway::{Gateway, Input},
    output,
    source::Source,
};

/// Add the filters to an Envoy configuration that you have, or take them out again
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Envoy's bootstrap configuration, YAML or JSON
    #[arg(value_name = "ENVOY.yaml")]
    envoy: PathBuf,
    /// OpenAPI definitions, YAML or JSON
    #[arg(required_unless_present = "remove", value_name = "FILE")]
    definitions: Vec<PathBuf>,
    /// HTTP listener to add the filters to, by name; may be repeated. Not needed if there is only one
    #[arg(long = "listener", value_name = "NAME")]
    listeners: Vec<String>,
    /// Take out what `enforcer attach` added
    #[arg(long, conflicts_with_all = ["definitions", "listeners"])]
    remove: bool,
    /// Where to write the new configuration; may be the old one's file [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, shell: &Shell) -> ExitCode {
    let mut findings = Diagnostics::default();
    if let Some(outcome) = edit(arguments, shell, &mut findings) {
        outcome.report.iter().for_each(|line| shell.say(line));
        findings.take(write(arguments, &outcome.text, shell));
    }
    shell.report(&findings)
}

fn edit(arguments: &Arguments, shell: &Shell, findings: &mut Diagnostics) -> Option<Outcome> {
    let envoy: Arc<Source> = findings.take(Source::read(&arguments.envoy))?;
    let mut outcome = match arguments.remove {
        true => findings.take(attach::detach(&envoy)),
        false => add(arguments, &envoy, shell, findings),
    }?;
    outcome.text = envoy.encode(&outcome.text);
    Some(outcome)
}

fn add(
    arguments: &Arguments,
    envoy: &Arc<Source>,
    shell: &Shell,
    findings: &mut Diagnostics,
) -> Option<Outcome> {
    let input = Input {
        definitions: arguments.definitions.clone(),
        settings: shell.config(),
        development: false,
        routed: false,
        online: true,
    };
    let mut gateway = Gateway::load(&input, findings)?;
    // Where requests go is the business of the routes that are there.
    gateway.backends.clear();
    gateway.sandboxes.clear();
    findings.take(gateway.check_surroundings())?;
    gateway.summary().iter().for_each(|line| shell.detail(line));
    findings.take(attach::attach(envoy, gateway, &arguments.listeners))
}

fn write(arguments: &Arguments, text: &str, shell: &Shell) -> Result<(), Diagnostic> {
    let Some(shown) = &arguments.output else {
        // The text has its own last newline.
        shell.print_result(text.strip_suffix('\n').unwrap_or(text));
        return Ok(());
    };
    // A link goes on leading to the same file.
    let path = &fs::canonicalize(shown).unwrap_or_else(|_| shown.clone());
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Err(Diagnostic::error(format!("`{}` is no name for a file", path.display()))
            .help("give `-o` a file to write to"));
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = output::write(folder, &[(name, text.to_owned())])?;
    match written.is_empty() {
        true => shell.say("nothing has changed"),
        false => shell.say(format_args!("wrote {}", shown.display())),
    }
    Ok(())
}
