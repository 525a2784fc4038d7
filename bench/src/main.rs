//! `make bench`.

use std::{
    fs,
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use clap::Parser;
use enforcer_bench::{
    Result, backend, corpus, flood,
    gateway::Adapter,
    goals::{Table, judge},
    instructions, load,
    measure::{self, FULL, QUICK},
    process,
    report::Report,
    rows::{self, Id, Row},
    startup,
    tokens::Issuer,
};
use enforcer_testbed::{EnvoyBinary, Process};

/// Measures what the filters cost on a real Envoy
#[derive(Debug, Parser)]
#[command(name = "enforcer-bench")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Subcommand>,
    /// The load generator
    #[arg(long, default_value = "oha")]
    oha: PathBuf,
    /// The adapter
    #[arg(long, default_value = "target/release/enforcer")]
    enforcer: PathBuf,
    /// Folder with auth.wasm and noop.wasm
    #[arg(long, default_value = "target/wasm32-wasip1/wasm")]
    modules: PathBuf,
    /// Where to write the page
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// See that everything runs, in about a minute; the figures mean little
    #[arg(long)]
    quick: bool,
    /// Only rows whose id contains this, such as `cached`; what is compared with missing rows is left empty
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
}

#[derive(Debug, clap::Subcommand)]
enum Subcommand {
    /// Be the service behind Envoy
    #[command(hide = true)]
    Backend,
}

/// How long the backend may take to say where it is.
const BACKEND_LIMIT: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Some(Subcommand::Backend) => backend::serve(),
        None => run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("enforcer-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let envoy = EnvoyBinary::find()?;
    let plan = if arguments.quick { QUICK } else { FULL };
    let folder = tempfile::TempDir::with_prefix("enforcer-bench-")?;
    let backend = Process::spawn(Command::new(std::env::current_exe()?).arg("backend").stdin(Stdio::null()))?;
    let line = backend.stdout().wait_for(0, |_| true, BACKEND_LIMIT)?;
    let auth = arguments.modules.join("auth.wasm").canonicalize()?;
    let noop = arguments.modules.join("noop.wasm").canonicalize()?;
    let adapter = Adapter {
        enforcer: arguments.enforcer.canonicalize()?,
        module: auth.clone(),
        backend: backend::address(&line)?,
        folder: folder.path().to_owned(),
    };
    eprintln!("preparing {} tokens and the gateways", plan.distinct);
    let issuer = Issuer::new()?;
    let mut rows = rows::all(&adapter, &issuer, &noop, plan.distinct)?;
    rows.retain(|row| arguments.only.is_empty() || arguments.only.iter().any(|text| row.is_named(text)));
    let (stolen, started) = (process::stolen(), std::time::Instant::now());
    let measured = measure::measure(&rows, plan, &envoy, &arguments.oha, folder.path())?;
    let stolen = process::stolen().saturating_sub(stolen) as f64 / started.elapsed().as_secs_f64();
    eprintln!("a flood, start-up, memory, instructions, definitions");
    let floods = match rows.iter().find(|row| row.id == Id::Cached) {
        Some(row) => {
            flood::measure(&row.bootstrap, &issuer, &envoy, &arguments.oha, (folder.path(), plan.flood))?
        }
        None => Vec::new(),
    };
    let costs = startup::measure(&configurations(&rows), &envoy, if arguments.quick { 1 } else { 5 })?;
    let instructions = instructions::measure(&arguments.modules)?;
    let corpus = if arguments.quick { None } else { corpus::measure(&adapter)? };
    let bytes = startup::size(&auth)?;
    let table = Table(&measured);
    let goals = judge(table, bytes, corpus.as_ref());
    let machine = [
        ("Machine", process::machine()),
        ("Taken by other machines on it", format!("{stolen:.1} % of a processor")),
        ("Envoy", format!("{}, `--concurrency 1`", envoy.version()?)),
        ("Load", format!("{}, {} connections", version(&arguments.oha)?, load::CONNECTIONS)),
        ("Rounds", format!("{} of {:.1} s a row, saturated", plan.rounds, plan.saturated.as_secs_f64())),
    ];
    let report = Report {
        machine: &machine,
        table,
        goals: &goals,
        bytes,
        floods: &floods,
        costs: &costs,
        instructions: &instructions,
        corpus: corpus.as_ref(),
    };
    println!("{}", report.page());
    if let Some(output) = &arguments.output {
        fs::write(output, report.page())?;
    }
    Ok(())
}

/// What start-up and memory are measured of.
fn configurations(rows: &[Row]) -> Vec<(&'static str, &serde_json::Value, &load::Requests)> {
    let wanted = [Id::Plain, Id::Noop, Id::NativeCached, Id::Cached, Id::ManyOperations];
    let rows = rows.iter().filter(|row| wanted.contains(&row.id));
    rows.map(|row| (row.label, &row.bootstrap, &row.requests)).collect()
}

/// The line that a program prints for `--version`.
fn version(program: &std::path::Path) -> Result<String> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
