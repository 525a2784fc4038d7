//! `enforcer-extproc`: serves a configuration folder to Envoy.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::{Parser, ValueEnum};
use enforcer_core::units::Span;
use enforcer_extproc::{Bridge, Journal, Lines, LoadError, Modules, Options, Source, Tls};
use enforcer_harness::{Level, host::Cache};

/// The Enforcer filters behind Envoy's ext_proc
#[derive(Debug, Parser)]
#[command(name = "enforcer-extproc", version)]
struct Arguments {
    /// The folder with enforcer.json; it is read again when anything in it changes
    #[arg(long, value_name = "FOLDER", default_value = "/etc/enforcer")]
    config: PathBuf,
    /// Where Envoy calls
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:9000")]
    listen: SocketAddr,
    /// Where /metrics, /healthz and /readyz are
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:9001")]
    admin: SocketAddr,
    /// Threads that run filters [default: one a processor]
    #[arg(long, value_name = "NUMBER")]
    workers: Option<usize>,
    /// Where compiled modules are kept, so that the next start is a fast one
    #[arg(long, value_name = "FOLDER")]
    cache: Option<PathBuf>,
    /// How long to go on as before after SIGTERM, until whoever sends requests here has heard that it ends
    #[arg(long, value_name = "TIME", default_value = "0s")]
    linger: Span,
    /// How long requests under way may take after that
    #[arg(long, value_name = "TIME", default_value = "25s")]
    drain: Span,
    /// The server's certificate, in PEM; Envoy then calls by TLS
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The certificate's key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// The authorities that Envoy's own certificate must come from, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_clients: Option<PathBuf>,
    /// Lines below this level are not logged
    #[arg(long, value_enum, default_value_t = LogLevel::Info)]
    log_level: LogLevel,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

impl From<LogLevel> for Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Debug => Self::Debug,
            LogLevel::Info => Self::Info,
            LogLevel::Warn => Self::Warn,
            LogLevel::Error => Self::Error,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let lines = match Lines::start(arguments.log_level.into()) {
        Ok(lines) => Arc::new(lines),
        Err(error) => {
            eprintln!("enforcer-extproc: cannot start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let journal: Arc<dyn Journal> = Arc::clone(&lines) as _;
    let done = run(&arguments, &journal);
    if let Err(error) = &done {
        journal.line(Level::Critical, "server", &error.to_string());
    }
    lines.finish();
    if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(arguments: &Arguments, journal: &Arc<dyn Journal>) -> Result<(), LoadError> {
    let failed = |what| move |source| LoadError::Surroundings { what, source };
    let workers = arguments.workers.or_else(|| std::thread::available_parallelism().ok().map(usize::from));
    let options = Options {
        listen: arguments.listen,
        admin: arguments.admin,
        workers: workers.unwrap_or(1),
        source: Source::Folder(arguments.config.clone()),
        tls: tls(arguments)?,
    };
    let modules = Modules::start(cache(arguments, journal)).map_err(failed("start threads"))?;
    let bridge = Bridge::start(&options, &modules, Arc::clone(journal))?;
    let line = format!("serving on {}, metrics on {}", bridge.address(), bridge.admin());
    journal.line(Level::Info, "server", &line);
    bridge.wait_for_signal().map_err(failed("wait for signals"))?;
    journal.line(Level::Info, "server", "draining");
    let left = bridge.drain(Duration::from(arguments.linger), Duration::from(arguments.drain));
    if left > 0 {
        journal.line(Level::Warn, "server", &format!("{left} requests have not ended in time"));
    }
    Ok(())
}

/// Without one it only takes longer to start.
fn cache(arguments: &Arguments, journal: &Arc<dyn Journal>) -> Option<Cache> {
    let folder = arguments.cache.as_ref()?;
    let refused = |error| {
        let line = format!("`{}` cannot be used: {error}", folder.display());
        journal.line(Level::Warn, "cache", &line);
    };
    Cache::new(folder).map_err(refused).ok()
}

fn tls(arguments: &Arguments) -> Result<Option<Tls>, LoadError> {
    let read =
        |path: &PathBuf| std::fs::read(path).map_err(|source| LoadError::Read { path: path.clone(), source });
    let (Some(certificate), Some(key)) = (&arguments.tls_certificate, &arguments.tls_key) else {
        return Ok(None);
    };
    let clients = arguments.tls_clients.as_ref().map(read).transpose()?;
    Ok(Some(Tls { certificate: read(certificate)?, key: read(key)?, clients }))
}
