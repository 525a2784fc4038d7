//! `make bench-extproc`.

mod idle;
mod inside;
mod server;

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use clap::Parser;
use enforcer_bench::{
    Result, backend,
    filters::ext_authz,
    gateway::{Adapter, auth_configuration, cluster, with_clusters, with_filters},
    goals::{Goal, Table},
    load::{self, Requests},
    measure::{self, FULL, Plan, QUICK},
    process,
    rows::{Id, Row, TEN},
    stats::Summary,
    tokens::Issuer,
    whole::AUTHORIZER,
};
use enforcer_testbed::{Alg, EnvoyBinary, Process};
use serde_json::{Value, json};

use crate::server::{Server, Setup};

/// Measures what enforcer-extproc costs beside Envoy
#[derive(Debug, Parser)]
#[command(name = "enforcer-bench-extproc")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Subcommand>,
    /// The load generator
    #[arg(long, default_value = "oha")]
    oha: PathBuf,
    /// Folder with the programs
    #[arg(long, default_value = "target/release")]
    programs: PathBuf,
    /// Folder with the modules
    #[arg(long, default_value = "target/wasm32-wasip1/wasm")]
    modules: PathBuf,
    /// Where to write the page
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// See that everything runs, in half a minute; the figures mean little
    #[arg(long)]
    quick: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Subcommand {
    /// Be the service behind Envoy
    #[command(hide = true)]
    Backend,
}

/// How long a service may take to say where it is.
const SERVICE_LIMIT: Duration = Duration::from_secs(5);
/// Name of the cluster that the server is behind.
const SERVER: &str = "extproc";
/// Requests that are in the server at once.
const IDLE: usize = 10_000;

/// What was aimed at.
const MOST_RATIO: f64 = 1.5;
const MOST_MICROSECONDS: f64 = 8.0;
const MOST_MEGABYTES: f64 = 1_000.0;
const MOST_MILLISECONDS: f64 = 300.0;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Some(Subcommand::Backend) => backend::serve(),
        None => run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("enforcer-bench-extproc: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What everything is measured with.
struct World {
    envoy: EnvoyBinary,
    plan: Plan,
    folder: tempfile::TempDir,
    /// A gateway of ten operations, and what its auth filter is told.
    ten: Value,
    auth: Value,
    path: String,
    token: String,
}

fn run(arguments: &Arguments) -> Result<()> {
    let envoy = EnvoyBinary::find()?;
    let plan = if arguments.quick { QUICK } else { FULL };
    let folder = tempfile::TempDir::with_prefix("enforcer-bench-")?;
    process::keep_on(process::AROUND, std::process::id())?;
    let (_backend, backend) = service(Command::new(std::env::current_exe()?).arg("backend"))?;
    let module = |name: &str| arguments.modules.join(name).canonicalize();
    let auth = module("auth.wasm")?;
    let adapter = Adapter {
        enforcer: arguments.programs.join("enforcer").canonicalize()?,
        module: auth.clone(),
        backend,
        folder: folder.path().to_owned(),
    };
    let issuer = Issuer::new()?;
    let ten = adapter.build(TEN, &issuer.jwks(&[Alg::RS256]))?;
    let configuration = auth_configuration(&ten)?;
    let path = TEN.paths().into_iter().next().ok_or("there are no operations")?;
    let token = issuer.token(Alg::RS256)?;
    let world = World { envoy, plan, folder, ten, auth: configuration, path, token };
    let setup = |name: &str, module: &Path, root_id: &str, configuration: &Value| {
        let program = arguments.programs.join("enforcer-extproc").canonicalize()?;
        Setup::new(&program, world.folder.path().join(name), module, root_id, configuration)
    };
    let server = setup("auth", &auth, "auth", &world.auth)?;
    let measured = world.beside(arguments, &server)?;
    process::keep_on(process::ANY, std::process::id())?;
    eprintln!("inside, idle requests, starts");
    let batches = if arguments.quick { 5 } else { 50 };
    let inside = inside::measure(&auth, &world.auth, &world.path, &world.token, batches)?;
    let idle = idle::measure(&server.start()?, IDLE, &world.path, &world.token)?;
    let all = json!({"auth": world.auth, "ratelimit": {}, "analytics": {"metrics": {}}});
    let starts = starts(&setup("bundle", &module("bundle.wasm")?, "enforcer", &all)?, arguments.quick)?;
    let page = page(&world, Table(&measured), inside, idle, starts)?;
    println!("{page}");
    if let Some(output) = &arguments.output {
        fs::write(output, page)?;
    }
    Ok(())
}

impl World {
    /// Envoy alone, with a server of ext_authz that does nothing, and with ours.
    fn beside(&self, arguments: &Arguments, setup: &Setup) -> Result<Vec<measure::Measured>> {
        let (authorizer, authorizer_address) =
            service(&mut Command::new(arguments.programs.join("enforcer-authorizer")))?;
        let server: Server = setup.start()?;
        for id in [authorizer.id(), server.id()] {
            process::keep_on(process::ENVOYS, id)?;
        }
        let clusters = [cluster(AUTHORIZER, authorizer_address, true), cluster(SERVER, server.address, true)];
        let around = with_clusters(&self.ten, clusters)?;
        let requests = Requests::bearer(TEN.paths(), &self.token);
        let row = |id, label, filters: Vec<Value>, beside: Option<u32>| -> Result<Row> {
            let bootstrap = with_filters(&around, filters)?;
            let (protects, requests) = (beside.is_some(), requests.clone());
            Ok(Row { id, label, bootstrap, requests, protects, beside })
        };
        let rows = [
            row(Id::Plain, "Envoy alone", Vec::new(), None)?,
            row(
                Id::ExtAuthz,
                "ext_authz, a server that does nothing",
                vec![ext_authz(AUTHORIZER)],
                Some(authorizer.id()),
            )?,
            row(Id::ExtProc, "ext_proc, enforcer-extproc with auth", vec![ext_proc()], Some(server.id()))?,
        ];
        measure::measure(&rows, self.plan, &self.envoy, &arguments.oha, self.folder.path())
    }
}

/// Envoy's filter as `enforcer build -t kgateway` asks for it.
fn ext_proc() -> Value {
    json!({
        "name": "envoy.filters.http.ext_proc",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor",
            "grpc_service": {"envoy_grpc": {"cluster_name": SERVER, "authority": "enforcer"}},
            "failure_mode_allow": false,
            "message_timeout": "5s",
            "processing_mode": {"request_header_mode": "SEND", "response_header_mode": "SEND"},
            "request_attributes": ["source.address"],
        },
    })
}

/// Milliseconds until it serves, all filters in it: the first time, and from then on.
fn starts(setup: &Setup, quick: bool) -> Result<(f64, Summary)> {
    let start = || -> Result<f64> { Ok(setup.start()?.took.as_secs_f64() * 1e3) };
    let first = start()?;
    let times = if quick { 2 } else { 11 };
    let later: Vec<f64> = (0..times).map(|_| start()).collect::<Result<_>>()?;
    Ok((first, Summary::of(later)))
}

/// Starts one of the services around Envoy, and says where it listens.
fn service(command: &mut Command) -> Result<(Process, SocketAddr)> {
    let process = Process::spawn(command.stdin(Stdio::null()))?;
    let line = process.stdout().wait_for(0, |_| true, SERVICE_LIMIT)?;
    Ok((process, line.trim().parse()?))
}

const ABOUT: &str = "# Performance of enforcer-extproc

Written by `make bench-extproc`. Envoy, the server beside it and the server of ext_authz have one processor together, what
asks and answers them has the other. Processor time is that of the Envoy process and of the server beside it, divided by
the requests that were answered. Each request is one call of Envoy's with two messages to the server, the head of the
request and that of the response, and is logged by it. Figures are medians; half of all rounds lie within the brackets.
";

/// Measured once, by the times of threads in `/proc`.
const PARTS: &str = "
## Where it goes

About half of what is added is Envoy's own: its filter opens a gRPC call for each request and waits in it twice, where
ext_authz makes one that is answered once. Of the server's part, gRPC takes somewhat more than half, the worker with host
and module somewhat less, the log a thirtieth. Not tried yet: no message for the head of the response where no filter
looks at it, and workers that serve their own connections, so that no message changes threads.
";

fn page(
    world: &World,
    table: Table<'_>,
    inside: Summary,
    idle: (f64, f64),
    (first, later): (f64, Summary),
) -> Result<String> {
    let ratio = table.ratio(Id::ExtProc, Id::ExtAuthz);
    let goals = [
        Goal {
            text: "processor time of a whole request, known token: at most 1.5x of ext_authz with its server",
            figure: format!("{ratio:.2}x"),
            met: ratio.median <= MOST_RATIO,
        },
        Goal {
            text: "inside host and module, known token: at most 8 µs",
            figure: format!("{inside:.1} µs"),
            met: inside.median <= MOST_MICROSECONDS,
        },
        Goal {
            text: "10,000 idle requests: at most 1 GB",
            figure: format!("{:.0} MB ({:.0} MB before)", idle.1, idle.0),
            met: idle.1 <= MOST_MEGABYTES,
        },
        Goal {
            text: "start with compiled modules, all filters: at most 300 ms",
            figure: format!("{later:.0} ms ({first:.0} ms the first time)"),
            met: later.median <= MOST_MILLISECONDS,
        },
    ];
    let mut page = ABOUT.to_owned();
    writeln!(
        page,
        "\n{}; Envoy {}; {} connections.",
        process::machine(),
        world.envoy.version()?,
        load::CONNECTIONS
    )?;
    let rounds = world.plan.rounds;
    writeln!(page, "{rounds} rounds of {:.1} s a row.", world.plan.saturated.as_secs_f64())?;
    writeln!(page, "\n| goal | measured | |\n|---|---|---|")?;
    for goal in goals {
        let met = if goal.met { "met" } else { "**missed**" };
        writeln!(page, "| {} | {} | {met} |", goal.text, goal.figure)?;
    }
    writeln!(
        page,
        "\n| | processor time a request | beyond Envoy alone | requests a second | p50, p99 at 70 % |"
    )?;
    writeln!(page, "|---|---|---|---|---|")?;
    for row in table.0 {
        let of = |figures: &[f64]| Summary::of(figures.iter().copied());
        let added = table.added(row.id, Id::Plain);
        let p50 = Summary::of(row.at_rate.iter().map(|run| run.p50)).median;
        let p99 = Summary::of(row.at_rate.iter().map(|run| run.p99)).median;
        let label = row.label;
        let (cpu, saturated) = (of(&row.cpu), of(&row.saturated).median);
        writeln!(
            page,
            "| {label} | {cpu:.1} µs | {added:+.1} µs | {saturated:.0} | {p50:.2} ms, {p99:.2} ms |"
        )?;
    }
    page.push_str(PARTS);
    Ok(page)
}
