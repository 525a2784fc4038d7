//! `enforcer report`

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::Shell;
use crate::{
    diagnostic::Diagnostic,
    output::{self, plain},
    report::{self, model::Report, page, tally::Tally},
};

/// What is read at once, in bytes.
const BUFFER: usize = 1 << 18;

/// Make a page of the events that the analytics filter sent
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Events: JSON lines or arrays, OTLP, Envoy's access log, or its log with `apimMetrics:` lines; `-` is standard input
    #[arg(required = true, value_name = "EVENTS")]
    events: Vec<PathBuf>,
    /// The page
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    output: PathBuf,
}

pub(super) fn run(arguments: &Arguments, shell: &Shell) -> ExitCode {
    match make(arguments, shell) {
        Ok(()) => ExitCode::SUCCESS,
        Err(finding) => shell.fail(finding),
    }
}

fn make(arguments: &Arguments, shell: &Shell) -> Result<(), Diagnostic> {
    let mut tally = Tally::default();
    for path in &arguments.events {
        let name = if path == Path::new("-") { "standard input".into() } else { path.to_string_lossy() };
        let read = open(path).and_then(|input| report::read(input, &name, &mut tally));
        read.map_err(|error| Diagnostic::environment(format!("cannot read `{name}`: {}", plain(&error))))?;
    }
    let report = tally.report().ok_or_else(|| nothing(&tally))?;
    let path = &arguments.output;
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
        Diagnostic::error(format!("`{}` is no name of a file", path.display()))
            .help("such as `-o report.html`")
    })?;
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    output::write(folder, &[(name, page::render(&report))])?;
    complain(&report, shell);
    shell.say(format_args!("wrote {} of {} events", path.display(), report.events));
    Ok(())
}

fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::with_capacity(BUFFER, io::stdin())));
    }
    Ok(Box::new(BufReader::with_capacity(BUFFER, File::open(path)?)))
}

fn nothing(tally: &Tally) -> Diagnostic {
    let why =
        tally.first_trouble().map_or_else(String::new, |one| format!("; line {} is {}", one.line, one.why));
    Diagnostic::error(format!("there is no event that can be read{why}")).help(
        "give what a sink of the analytics filter wrote: JSON lines or arrays, OTLP in JSON, Envoy's access log, or \
         its log with `apimMetrics:` lines",
    )
}

/// Names what is not in the report.
fn complain(report: &Report, shell: &Shell) {
    for one in &report.named {
        shell.warn(&Diagnostic::warning(format!(
            "`{}` line {} is left out: {}",
            one.source, one.line, one.why
        )));
    }
    let named = u64::try_from(report.named.len()).unwrap_or(u64::MAX);
    if report.bad_lines > named {
        let more = report.bad_lines.saturating_sub(named);
        shell.warn(&Diagnostic::warning(format!("{more} more lines are left out")));
    }
}
