//! What runs during the demo: the backend, Envoy, and later `enforcer build --watch` beside it.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use enforcer_testbed::{Envoy, EnvoyBinary, Process, Version};

use crate::Outcome;
use crate::operations::Table;
use crate::page::{self, Page, Style};
use crate::tokens;
use crate::workshop::{Workshop, sibling, succeed};

/// The first ports that are tried.
const GATEWAY: u16 = 8080;
const BACKEND: u16 = 3000;
/// Longer than any part takes to start on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// Everything that runs. Dropping it stops it, Envoy first, and removes its folder.
pub(crate) struct Stage {
    pub(crate) envoy: Envoy,
    pub(crate) watcher: Option<Process>,
    _backend: Process,
    pub(crate) gateway: SocketAddr,
    /// What Envoy's filter was told.
    pub(crate) table: Table,
    pub(crate) workshop: Workshop,
}

/// What the user is told about it.
struct Introduction<'a> {
    definition: &'a str,
    undecided_schemes: Vec<String>,
    envoy: Version,
    backend: SocketAddr,
    /// What `enforcer build` said.
    said: String,
}

impl Stage {
    /// Starts everything, saying so on the page.
    pub(crate) fn set_up(page: &mut Page, module: &Path, definition: Option<&Path>) -> Outcome<Self> {
        let binary = EnvoyBinary::find()?;
        let workshop = Workshop::open(definition)?;
        // Two demos that start at once would choose the same ports.
        let turn = File::open(std::env::current_exe()?)?;
        turn.lock()?;
        let (process, backend) = start_backend()?;
        let gateway = SocketAddr::from((Ipv4Addr::LOCALHOST, free_from(GATEWAY)?));
        let undecided_schemes = workshop.write_settings(gateway, backend, module)?;
        tokens::make_key(&workshop)?;
        let color = if page.color() { "always" } else { "never" };
        let said = succeed(workshop.build().args(["--color", color]))?.said;
        let options = binary.options(workshop.folder().join("gateway/envoy.yaml")).concurrency(2);
        let envoy = options.start()?;
        drop(turn);
        let table = Table::of(&envoy.admin_get("/config_dump")?)?;
        let stage = Self { envoy, watcher: None, _backend: process, gateway, table, workshop };
        let definition = definition.map_or("petstore.yaml".into(), Path::to_string_lossy);
        let introduction = Introduction {
            definition: &definition,
            undecided_schemes,
            envoy: binary.version()?,
            backend,
            said,
        };
        stage.introduce(page, &introduction)?;
        Ok(stage)
    }

    fn introduce(&self, page: &mut Page, about: &Introduction<'_>) -> Outcome<()> {
        page.line(&page.styled("An API made from OpenAPI, in a real Envoy", Style::Bold))?;
        page.line("")?;
        let words = ["enforcer build", about.definition, "-t envoy-xds", "-o gateway"].map(str::to_owned);
        page.entry("made by", &page::command(&words, page::TEXT))?;
        for (label, text) in [
            ("gateway", format!("http://{}  Envoy {} with bundle.wasm", self.gateway, about.envoy)),
            (
                "backend",
                format!("http://{}  a process of its own, answers with what it received", about.backend),
            ),
            ("files", format!("{}  removed at the end", self.workshop.folder().display())),
        ] {
            page.entry(label, &[text])?;
        }
        if !about.undecided_schemes.is_empty() {
            let schemes = page::quoted(&about.undecided_schemes);
            let text = format!("{schemes} cannot be verified yet: a token is asked for in place of it.");
            page.entry("note", &page::wrapped(&text))?;
        }
        page.warnings(&about.said)
    }

    /// Builds again from now on whenever the definition changes.
    pub(crate) fn watch(&mut self) -> Outcome<()> {
        let watcher = Process::spawn(self.workshop.build().arg("--watch"))?;
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
}

fn start_backend() -> Outcome<(Process, SocketAddr)> {
    let port = free_from(BACKEND)?.to_string();
    let process = Process::spawn(Command::new(sibling("enforcer-echo")?).arg(port))?;
    let address = process.stdout().wait_for(0, |_| true, SOON)?.parse()?;
    Ok((process, address))
}

/// The first port from this one on that nobody listens on.
fn free_from(first: u16) -> Outcome<u16> {
    (first..=u16::MAX)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .ok_or_else(|| format!("no port from {first} on is free").into())
}
