//! What runs during the demo: the backend, Envoy, and later `enforcer build --watch` beside it.

use std::error::Error;
use std::fmt;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use enforcer_testbed::{Envoy, EnvoyBinary, Process};
use serde_json::json;
use tempfile::TempDir;

use crate::Outcome;
use crate::operations::Table;
use crate::page::Page;
use crate::tokens::Mint;

const PETSTORE: &str = include_str!("../../../../envoy-examples/quickstart/petstore.yaml");
const SETTINGS: &str = include_str!("../../../../envoy-examples/quickstart/enforcer.yaml");
/// What those settings say, to be replaced by what is so on this machine.
const PORT: u16 = 8080;
const BACKEND_PORT: u16 = 3000;
const MODULE: &str = "dist/auth.wasm";
/// Longer than any part takes to start on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// Everything that runs. Dropping it stops it, Envoy first, and removes its folder.
pub(crate) struct Stage {
    pub(crate) envoy: Envoy,
    pub(crate) watcher: Option<Process>,
    _backend: Process,
    pub(crate) gateway: SocketAddr,
    /// The definition that is served.
    pub(crate) definition: PathBuf,
    /// It is the quickstart's, and this a copy.
    pub(crate) petstore: bool,
    pub(crate) table: Table,
    pub(crate) enforcer: PathBuf,
    folder: TempDir,
}

impl Stage {
    /// Starts everything, saying so on the page.
    pub(crate) fn set_up(page: &mut Page, module: &Path, definition: Option<&Path>) -> Outcome<Self> {
        // Two demos that start at once would choose the same ports.
        let turn = File::open(std::env::current_exe()?)?;
        turn.lock()?;
        let folder = TempDir::with_prefix("enforcer-demo-")?;
        let enforcer = sibling("enforcer")?;
        let copy = folder.path().join("petstore.yaml");
        fs::write(&copy, PETSTORE)?;
        let definition_file = definition.map_or(Ok(copy), std::path::absolute)?;

        let mut backend = Command::new(sibling("enforcer-echo")?);
        let backend = Process::spawn(backend.arg(free_from(BACKEND_PORT)?.to_string()))?;
        let backend_address: SocketAddr = backend.stdout().wait_for(0, |_| true, SOON)?.parse()?;
        let gateway = SocketAddr::from((Ipv4Addr::LOCALHOST, free_from(PORT)?));

        let mut settings = settings_text(gateway.port(), backend_address.port(), &fs::canonicalize(module)?);
        if definition.is_some() {
            settings.push_str(&schemes_of(&enforcer, &folder, &definition_file)?);
        }
        fs::write(folder.path().join("enforcer.yaml"), settings)?;
        // The first token makes the key set that the settings name.
        Mint { enforcer: &enforcer, folder: folder.path(), header: "" }.token(&[], &[])?;
        let mut build = build(&enforcer, folder.path(), &definition_file);
        let said = succeed_saying(build.args(["--color", if page.color() { "always" } else { "never" }]))?;

        let binary = EnvoyBinary::find()?;
        let version = binary.version()?;
        let envoy = binary.options(folder.path().join("gateway/envoy.yaml")).concurrency(2).start()?;
        let table = Table::of(&envoy.admin_get("/config_dump")?)?;
        drop(turn);

        let shown = definition.map_or("petstore.yaml".into(), Path::to_string_lossy);
        for line in [
            format!("   made by   enforcer build {shown} -t envoy-xds -o gateway"),
            format!("   gateway   http://{gateway}  Envoy {version} with auth.wasm"),
            format!(
                "   backend   http://{backend_address}  a process of its own, answers with what it received"
            ),
            format!("   files in  {}  removed at the end", folder.path().display()),
        ] {
            page.line(&line)?;
        }
        page.warnings(&said)?;
        Ok(Self {
            envoy,
            watcher: None,
            _backend: backend,
            gateway,
            definition: definition_file,
            petstore: definition.is_none(),
            table,
            enforcer,
            folder,
        })
    }

    /// Builds again from now on whenever the definition changes.
    pub(crate) fn watch(&mut self) -> Outcome<()> {
        let mut command = build(&self.enforcer, self.folder.path(), &self.definition);
        let watcher = Process::spawn(command.arg("--watch"))?;
        watcher.stderr().wait_for(0, |line| line.starts_with("watching"), SOON)?;
        self.watcher = Some(watcher);
        Ok(())
    }

    /// Fails when a part has ended by itself.
    pub(crate) fn check_alive(&mut self) -> Outcome<()> {
        self.envoy.check_alive()?;
        match self.watcher.as_mut().map(Process::ended) {
            Some(Ok(Some(status))) => Err(format!("`enforcer build --watch` has ended: {status}").into()),
            _ => Ok(()),
        }
    }

    pub(crate) fn mint(&self) -> Mint<'_> {
        Mint { enforcer: &self.enforcer, folder: self.folder.path(), header: &self.table.token_header }
    }

    /// Where `enforcer token` has its key.
    pub(crate) fn key_dir(&self) -> PathBuf {
        self.folder.path().join(".enforcer")
    }
}

/// The quickstart's settings with this machine's ports and module.
fn settings_text(port: u16, backend_port: u16, module: &Path) -> String {
    SETTINGS
        .replace(&format!("port: {PORT}"), &format!("port: {port}"))
        .replace(&format!("127.0.0.1:{BACKEND_PORT}"), &format!("127.0.0.1:{backend_port}"))
        .replace(MODULE, &json!(module.to_string_lossy()).to_string())
}

/// `enforcer init` knows which security schemes of a definition have to be decided upon, and asks for a token
/// in their place.
fn schemes_of(enforcer: &Path, folder: &TempDir, definition: &Path) -> Outcome<String> {
    let aside = TempDir::with_prefix_in("init-", folder.path())?;
    succeed(Command::new(enforcer).current_dir(aside.path()).arg("init").arg(definition))?;
    let text = fs::read_to_string(aside.path().join("enforcer.yaml"))?;
    Ok(text.split_once("\nauth:\n").map(|(_, auth)| format!("auth:\n{auth}")).unwrap_or_default())
}

fn build(enforcer: &Path, folder: &Path, definition: &Path) -> Command {
    let mut command = Command::new(enforcer);
    command.current_dir(folder).arg("build").arg(definition);
    command.args(["-t", "envoy-xds", "-o", "gateway", "--development"]);
    command
}

/// Runs a command to its end and returns its standard output; its complaints are the error.
pub(crate) fn succeed(command: &mut Command) -> Outcome<String> {
    Ok(finished(command)?.0)
}

/// The same, returning what it said on standard error.
fn succeed_saying(command: &mut Command) -> Outcome<String> {
    Ok(finished(command)?.1)
}

fn finished(command: &mut Command) -> Outcome<(String, String)> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("cannot run `{program}`: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        return Ok((String::from_utf8_lossy(&output.stdout).into_owned(), said));
    }
    Err(Box::new(Complaint(said)))
}

/// What `enforcer` said before it failed, to be shown as it is.
#[derive(Debug)]
pub(crate) struct Complaint(String);

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.trim_end())
    }
}

impl Error for Complaint {}

/// A program that Cargo built beside this one.
fn sibling(name: &str) -> Outcome<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    if path.is_file() {
        Ok(path)
    } else {
        Err(format!("there is no `{}`; run `make demo`", path.display()).into())
    }
}

/// The first port from this one on that nobody listens on.
fn free_from(first: u16) -> Outcome<u16> {
    (first..=u16::MAX)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .ok_or_else(|| format!("no port from {first} on is free").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_take_this_machines_values() {
        let text = settings_text(1234, 5678, Path::new("/tmp/a \"b\".wasm"));
        assert!(text.contains("{address: 127.0.0.1, port: 1234}"), "{text}");
        assert!(text.contains("backend: http://127.0.0.1:5678\n"), "{text}");
        assert!(text.ends_with("modules: \"/tmp/a \\\"b\\\".wasm\"\n"), "{text}");
    }
}
