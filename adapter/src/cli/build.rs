//! `enforcer build`

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::ValueEnum;

use super::{Shell, watch::Files};
use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    envoy,
    gateway::{Gateway, Input},
    kgateway::{self, Release},
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
    /// Stay, and build again whenever a file changes
    #[arg(long)]
    watch: bool,
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
    /// Resources of Kubernetes, with the filters in a server of their own (kgateway 2.4)
    #[value(name = "kgateway@2.4", alias = "kgateway")]
    Kgateway24,
    /// The same for kgateway 2.3, which tells filters no addresses and no certificates
    #[value(name = "kgateway@2.3")]
    Kgateway23,
}

pub(super) fn run(arguments: &Arguments, shell: &Shell) -> ExitCode {
    if arguments.watch {
        return match watch(arguments, shell) {
            Ok(()) => ExitCode::SUCCESS,
            Err(finding) => shell.fail(finding),
        };
    }
    build(arguments, shell.config(), shell).0
}

/// Builds once; tells how it ended, and what was read.
fn build(arguments: &Arguments, settings: Option<PathBuf>, shell: &Shell) -> (ExitCode, BTreeSet<PathBuf>) {
    let mut findings = Diagnostics::default();
    let gateway = load(arguments, settings, &mut findings);
    if let Some(gateway) = &gateway {
        write(gateway, arguments, shell, &mut findings);
    }
    // A file that something is wrong with is one that was read, even if nothing came of it.
    let wrong = findings.iter().filter_map(|finding| finding.place()).map(|place| place.source.name().into());
    let mut files: BTreeSet<PathBuf> = wrong.collect();
    files.extend(gateway.map(|gateway| gateway.files).unwrap_or_default());
    (shell.report(&findings), files)
}

/// Builds, and again after every change. What is wrong is printed, and what was written before stays.
fn watch(arguments: &Arguments, shell: &Shell) -> Result<(), Diagnostic> {
    let mut files = Files::new()?;
    files.add(arguments.definitions.iter().map(PathBuf::as_path))?;
    // Looked at even where it is absent, because it may be made.
    let mut settings = shell.config();
    files.add([settings.as_deref().unwrap_or(Path::new("enforcer.yaml"))])?;
    loop {
        // Settings that were there and are gone are being replaced: to do without them would open what they close.
        settings = settings.or_else(|| shell.config());
        match settings.as_deref().filter(|path| is_empty(path)) {
            Some(path) => shell.warn(&Diagnostic::warning(format!("`{}` is empty", path.display())).help(
                "it is taken for half written, and what was built before stays; write `{}` to have no settings",
            )),
            None => {
                let (_, read) = build(arguments, settings.clone(), shell);
                files.add(read.iter().map(PathBuf::as_path))?;
            }
        }
        shell.say("watching for changes");
        files.wait()?;
    }
}

/// Editors and tools that do not rename truncate a file before they write it.
fn is_empty(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.len() == 0)
}

fn load(arguments: &Arguments, settings: Option<PathBuf>, findings: &mut Diagnostics) -> Option<Gateway> {
    let input = Input {
        definitions: arguments.definitions.clone(),
        settings,
        development: arguments.development,
        routed: arguments.target != Target::EnvoyFilters,
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

fn render(gateway: &Gateway, arguments: &Arguments, findings: &mut Diagnostics) -> Option<envoy::Files> {
    if !matches!(arguments.target, Target::Kgateway23 | Target::Kgateway24) {
        findings.take(gateway.check_surroundings())?;
    }
    Some(match arguments.target {
        Target::Kgateway24 => findings.take(kgateway::kgateway(gateway, Release::V2_4))?,
        Target::Kgateway23 => findings.take(kgateway::kgateway(gateway, Release::V2_3))?,
        Target::Envoy => envoy::envoy(gateway),
        Target::EnvoyFilters => {
            if gateway.model.apis.iter().any(|api| api.cors.is_some()) {
                findings.push(
                    Diagnostic::warning(
                        "CORS policies are not written: they belong to routes, and the routes are yours",
                    )
                    .help("set Envoy's `envoy.filters.http.cors` up where the routes are"),
                );
            }
            envoy::envoy_filters(gateway)
        }
        Target::EnvoyXds => {
            // Envoy may be started from another folder than this command.
            let folder = std::path::absolute(&arguments.output).unwrap_or_else(|_| arguments.output.clone());
            envoy::envoy_xds(gateway, &folder.display().to_string())
        }
    })
}
