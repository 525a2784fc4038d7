//! The server that is measured.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use enforcer_bench::Result;
use enforcer_testbed::Process;
use serde_json::{Value, json};

/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// What it is made of.
#[derive(Debug)]
pub(crate) struct Setup {
    /// `enforcer-extproc`.
    pub(crate) program: PathBuf,
    /// With `enforcer.json`.
    pub(crate) folder: PathBuf,
    pub(crate) cache: PathBuf,
}

/// One that runs.
#[derive(Debug)]
pub(crate) struct Server {
    process: Process,
    pub(crate) address: SocketAddr,
    /// From the start of the process until it serves.
    pub(crate) took: Duration,
}

impl Setup {
    /// Writes the configuration of one filter.
    pub(crate) fn new(
        program: &Path,
        folder: PathBuf,
        module: &Path,
        root_id: &str,
        configuration: &Value,
    ) -> Result<Self> {
        fs::create_dir_all(&folder)?;
        let config = json!({
            "filters": {"*": {"module": module, "root_id": root_id, "configuration": configuration}},
        });
        fs::write(folder.join("enforcer.json"), config.to_string())?;
        Ok(Self { program: program.to_owned(), cache: folder.join("cache"), folder })
    }

    /// With one worker, as the Envoys that are compared have.
    pub(crate) fn start(&self) -> Result<Server> {
        let mut command = Command::new(&self.program);
        command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--workers", "1", "--config"]);
        command.arg(&self.folder).arg("--cache").arg(&self.cache).stdin(Stdio::null());
        let began = Instant::now();
        let process = Process::spawn(&mut command)?;
        let line = process.stdout().wait_for(0, |line| line.contains("serving on "), PATIENCE)?;
        let took = began.elapsed();
        let address = line.split_once("serving on ").and_then(|(_, rest)| rest.split_once(','));
        let (address, _) = address.ok_or("the server does not say where it is")?;
        Ok(Server { address: address.parse()?, process, took })
    }
}

impl Server {
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }
}
