use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::{Error, LogCapture, Process, RawClient, Request};

/// Compiling Wasm modules takes about a second a megabyte, more on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// Puts the admin interface on a free loopback port, whatever the configuration says: Envoy merges this over it.
const ADMIN_OVERLAY: &str = "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}";

/// An Envoy that runs and serves. Dropping it stops it.
#[derive(Debug)]
pub struct Envoy {
    process: Process,
    admin: SocketAddr,
    /// Holds the configuration as long as Envoy runs.
    _scratch: TempDir,
}

impl Envoy {
    pub(super) fn start(mut command: Command, scratch: TempDir) -> Result<Self, Error> {
        let admin_file = scratch.path().join("admin");
        command
            .args(["--config-yaml", ADMIN_OVERLAY])
            .arg("--admin-address-path")
            .arg(&admin_file)
            // Access logs reach their file when a test looks, not ten seconds later.
            .args(["--file-flush-interval-msec", "20"]);
        let mut process = Process::spawn(&mut command)?;
        let admin = wait_until_live(&mut process, &admin_file)?;
        Ok(Self { process, admin, _scratch: scratch })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Fails when Envoy has ended by itself.
    pub fn check_alive(&mut self) -> Result<(), Error> {
        match self.process.ended()? {
            None => Ok(()),
            Some(status) => Err(Error::Exited { status, log: self.process.stderr().tail() }),
        }
    }

    /// Where the admin interface listens.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The body of an admin page, such as `/config_dump`.
    pub fn admin_get(&self, path: &str) -> Result<String, Error> {
        admin(self.admin, "GET", path)
    }

    /// The body of the answer to an admin action, such as `/reset_counters`.
    pub fn admin_post(&self, path: &str) -> Result<String, Error> {
        admin(self.admin, "POST", path)
    }

    /// Where the listener of this name listens: its port 0 has become a real one.
    pub fn listener(&self, name: &str) -> Result<SocketAddr, Error> {
        let listeners = self.listeners()?;
        let known = || {
            let names: Vec<String> = listeners.keys().map(|name| format!("`{name}`")).collect();
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        };
        listeners
            .get(name)
            .copied()
            .ok_or_else(|| Error::NoListener { name: name.to_owned(), known: known() })
    }

    /// The address of each listener that has an IP address, by name.
    pub fn listeners(&self) -> Result<BTreeMap<String, SocketAddr>, Error> {
        let page = self.admin_get("/listeners?format=json")?;
        let page: Value = serde_json::from_str(&page).map_err(|e| Error::Http(e.to_string()))?;
        let statuses = page.pointer("/listener_statuses").and_then(Value::as_array);
        Ok(statuses.into_iter().flatten().filter_map(listener_address).collect())
    }

    /// A client of the listener of this name.
    pub fn client(&self, listener: &str) -> Result<RawClient, Error> {
        Ok(RawClient::new(self.listener(listener)?))
    }

    /// Counters and gauges by name; metrics of Wasm modules begin with `wasmcustom.`.
    pub fn stats(&self) -> Result<BTreeMap<String, u64>, Error> {
        let page = self.admin_get("/stats?type=All")?;
        // Text readouts and histograms have values that are no numbers.
        let numbers = page.lines().filter_map(|line| {
            let (name, value) = line.rsplit_once(": ")?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Ok(numbers.collect())
    }

    /// Waits until a counter or gauge satisfies the condition, and returns its value.
    pub fn wait_for_stat(
        &self,
        name: &str,
        satisfied: impl Fn(u64) -> bool,
        limit: Duration,
    ) -> Result<u64, Error> {
        let start = Instant::now();
        loop {
            let value = self.stats()?.get(name).copied();
            match value.filter(|value| satisfied(*value)) {
                Some(value) => return Ok(value),
                None if start.elapsed() > limit => {
                    let context = value.map_or("there is no such metric".into(), |v| format!("it is {v}"));
                    return Err(Error::Timeout { what: format!("a change of `{name}`"), limit, context });
                }
                None => std::thread::sleep(POLL),
            }
        }
    }

    /// The metrics in the format of Prometheus.
    pub fn prometheus(&self) -> Result<String, Error> {
        self.admin_get("/stats/prometheus")
    }

    /// What Envoy printed on standard output: the access log of `envoy.access_loggers.stdout`.
    pub fn access_log(&self) -> &LogCapture {
        self.process.stdout()
    }

    /// What Envoy printed on standard error: the component log, with the lines of Wasm modules.
    pub fn log(&self) -> &LogCapture {
        self.process.stderr()
    }
}

fn wait_until_live(process: &mut Process, admin_file: &Path) -> Result<SocketAddr, Error> {
    let start = Instant::now();
    loop {
        let address = fs::read_to_string(admin_file).ok().and_then(|text| text.trim().parse().ok());
        if let Some(address) = address.filter(|address| admin(*address, "GET", "/ready").is_ok()) {
            return Ok(address);
        }
        if let Some(status) = process.ended()? {
            // The reader may be behind a process that is already gone.
            process.stderr().wait_for_end(Duration::from_secs(1));
            return Err(Error::Exited { status, log: process.stderr().tail() });
        }
        if start.elapsed() > START_LIMIT {
            let what = "Envoy's start".into();
            return Err(Error::Timeout { what, limit: START_LIMIT, context: process.stderr().tail() });
        }
        std::thread::sleep(POLL);
    }
}

fn admin(address: SocketAddr, method: &str, path: &str) -> Result<String, Error> {
    let response = RawClient::new(address).send(&Request::new(method, path).header("Connection", "close"))?;
    if response.status == 200 {
        return Ok(response.text());
    }
    let body = response.text().chars().take(200).collect();
    Err(Error::Admin { path: path.to_owned(), status: response.status, body })
}

fn listener_address(status: &Value) -> Option<(String, SocketAddr)> {
    let name = status.get("name")?.as_str()?;
    let socket = status.pointer("/local_address/socket_address")?;
    let ip = socket.get("address")?.as_str()?.parse().ok()?;
    let port = socket.get("port_value")?.as_u64().and_then(|port| u16::try_from(port).ok())?;
    Some((name.to_owned(), SocketAddr::new(ip, port)))
}
