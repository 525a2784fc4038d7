//! `make bench`.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use clap::Parser;
use enforcer_bench::{
    Result, backend, corpus, credentials, flood,
    gateway::Adapter,
    goals::{Table, judge},
    instructions, load,
    measure::{self, FULL, QUICK},
    process,
    report::Report,
    rows::{self, Id, Modules, Row},
    services::Services,
    startup,
    tokens::Issuer,
    whole::{self, Around},
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
    /// The server that ext_authz asks
    #[arg(long, default_value = "target/release/enforcer-authorizer")]
    authorizer: PathBuf,
    /// Folder with the modules
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

/// How long a service may take to say where it is.
const SERVICE_LIMIT: Duration = Duration::from_secs(5);

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
    process::keep_on(process::AROUND, std::process::id())?;
    let (_backend, backend_address) = service(Command::new(std::env::current_exe()?).arg("backend"))?;
    let (authorizer, authorizer_address) = service(&mut Command::new(&arguments.authorizer))?;
    process::keep_on(process::ENVOYS, authorizer.id())?;
    let auth = arguments.modules.join("auth.wasm").canonicalize()?;
    let module = |name: &str| arguments.modules.join(name).canonicalize();
    let (noop, ratelimit, bundle) = (module("noop.wasm")?, module("ratelimit.wasm")?, module("bundle.wasm")?);
    let adapter = Adapter {
        enforcer: arguments.enforcer.canonicalize()?,
        module: auth,
        backend: backend_address,
        folder: folder.path().to_owned(),
    };
    eprintln!("preparing {} tokens and the gateways", plan.distinct);
    let issuer = Issuer::new()?;
    let modules = Modules { noop: &noop, ratelimit: &ratelimit, bundle: &bundle };
    let mut rows = rows::all(&adapter, &issuer, modules, plan.distinct)?;
    let folder_of_modules = arguments.modules.canonicalize()?;
    let around = Around {
        modules: &folder_of_modules,
        collector: backend_address,
        authorizer: authorizer_address,
        authorizer_id: authorizer.id(),
    };
    rows.extend(whole::rows(&adapter, &issuer, around)?);
    let services = Services::start()?;
    rows.extend(credentials::rows(&adapter, &issuer, modules, &services)?);
    rows.retain(|row| arguments.only.is_empty() || arguments.only.iter().any(|text| row.is_named(text)));
    let (stolen, started) = (process::stolen(), std::time::Instant::now());
    let measured = measure::measure(&rows, plan, &envoy, &arguments.oha, folder.path())?;
    let stolen = process::stolen().saturating_sub(stolen) as f64 / started.elapsed().as_secs_f64();
    process::keep_on(process::ANY, std::process::id())?;
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
    let sizes = startup::sizes(&arguments.modules)?;
    let table = Table(&measured);
    let goals = judge(table, &sizes, &costs, corpus.as_ref());
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
        sizes: &sizes,
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

/// Starts one of the services around Envoy, and says where it listens.
fn service(command: &mut Command) -> Result<(Process, SocketAddr)> {
    let process = Process::spawn(command.stdin(Stdio::null()))?;
    let line = process.stdout().wait_for(0, |_| true, SERVICE_LIMIT)?;
    Ok((process, line.trim().parse()?))
}

/// What start-up and memory are measured of.
fn configurations(rows: &[Row]) -> Vec<(Id, &'static str, &serde_json::Value, &load::Requests)> {
    let wanted = [
        Id::Plain,
        Id::Noop,
        Id::NativeCached,
        Id::Cached,
        Id::ManyOperations,
        Id::NativeAll,
        Id::Bundle,
        Id::Separate,
    ];
    let rows = rows.iter().filter(|row| wanted.contains(&row.id));
    rows.map(|row| (row.id, row.label, &row.bootstrap, &row.requests)).collect()
}

/// The line that a program prints for `--version`.
fn version(program: &std::path::Path) -> Result<String> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
