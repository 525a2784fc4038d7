//! Talking to the user.

use std::{
    fmt,
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::{Color, Format, Global};
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};

/// Where and how things are said. Results go to standard output, everything else to standard error.
#[derive(Debug)]
pub struct Shell {
    config: Option<PathBuf>,
    format: Format,
    color: bool,
    quiet: bool,
    verbose: bool,
}

impl Shell {
    pub(super) fn new(global: &Global) -> Self {
        let color = match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => std::env::var_os("NO_COLOR").is_none() && std::io::stderr().is_terminal(),
        };
        Self {
            config: global.config.clone(),
            format: global.format,
            color,
            quiet: global.quiet,
            verbose: global.verbose,
        }
    }

    /// The settings file: the one that was named, else `enforcer.yaml` if it is there.
    pub fn config(&self) -> Option<PathBuf> {
        let default = Path::new("enforcer.yaml");
        self.config.clone().or_else(|| default.is_file().then(|| default.to_owned()))
    }

    /// What the command was called for, on standard output.
    pub fn print_result(&self, result: impl fmt::Display) {
        // Nobody may be listening any more: `enforcer schema auth | head`.
        let _ = writeln!(std::io::stdout(), "{result}");
    }

    /// Progress, unless `-q`.
    pub fn say(&self, message: impl fmt::Display) {
        if !self.quiet && self.format == Format::Text {
            let _ = writeln!(std::io::stderr(), "{message}");
        }
    }

    /// Details, with `-v`.
    pub fn detail(&self, message: impl fmt::Display) {
        if self.verbose {
            self.say(message);
        }
    }

    /// Prints findings and tells the exit code that follows from them.
    pub fn report(&self, findings: &Diagnostics) -> ExitCode {
        for finding in findings.by_place() {
            self.print(finding);
        }
        let errors = findings.count(Severity::Error);
        let surroundings = findings.count(Severity::Environment);
        let all = errors.saturating_add(surroundings);
        if all > 0 {
            self.say(format_args!("{all} {}; nothing is written", if all == 1 { "error" } else { "errors" }));
        }
        match (errors, surroundings) {
            (0, 0) => ExitCode::SUCCESS,
            (0, _) => ExitCode::from(3),
            _ => ExitCode::from(1),
        }
    }

    /// One finding that does not end the command.
    pub fn warn(&self, finding: &Diagnostic) {
        self.print(finding);
    }

    /// One finding that ends the command.
    pub fn fail(&self, finding: Diagnostic) -> ExitCode {
        let mut findings = Diagnostics::default();
        findings.push(finding);
        self.report(&findings)
    }

    fn print(&self, finding: &Diagnostic) {
        if self.quiet && finding.severity() == Severity::Warning {
            return;
        }
        let mut out = std::io::stderr().lock();
        let _ = match self.format {
            Format::Text => out.write_all(finding.to_text(self.color).as_bytes()),
            Format::Json => writeln!(out, "{}", finding.to_json()),
        };
    }
}
