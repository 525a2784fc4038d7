//! The real binary.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-extproc");

/// One of our modules, by the variable that names it, or where `make wasm` leaves it. `None` where there is none.
pub(crate) fn wasm(name: &str) -> Option<PathBuf> {
    let named = std::env::var_os(format!("ENFORCER_{}_WASM", name.to_uppercase())).map(PathBuf::from);
    let target = Path::new(BINARY).ancestors().nth(2).unwrap();
    let path = named.unwrap_or_else(|| target.join(format!("wasm32-wasip1/wasm/{name}.wasm")));
    if !path.is_file() {
        println!("skipped: `{}` has not been built", path.display());
        return None;
    }
    Some(path)
}

/// A process of it, stopped when this is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// With two workers, the configuration of a folder, and further arguments; returns when it serves.
    pub(crate) fn start(folder: &Path, more: &[&str]) -> Self {
        let mut child = Command::new(BINARY)
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--workers", "2", "--config"])
            .arg(folder)
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let told = lines.find_map(|line| {
            let line: Value = serde_json::from_str(&line).unwrap();
            let (address, admin) =
                line["message"].as_str()?.strip_prefix("serving on ")?.split_once(", metrics on ")?;
            Some((address.parse().unwrap(), admin.parse().unwrap()))
        });
        let (address, admin) = told.expect("the server does not start");
        // A log that nobody reads would hold the server up.
        thread::spawn(move || lines.for_each(drop));
        Self { child, address, admin }
    }

    /// As Kubernetes ends it. Returns when it has.
    pub(crate) fn end(mut self) {
        let ended = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(ended.success() && self.child.wait().unwrap().success());
    }

    /// Bytes of memory in use (`VmRSS`).
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// A counter of the process' own.
    pub(crate) fn count(&self, name: &str) -> u64 {
        let mut connection = TcpStream::connect(self.admin).unwrap();
        write!(connection, "GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        connection.read_to_string(&mut text).unwrap();
        let name = format!("enforcer_extproc_{name} ");
        text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().trim().parse().unwrap()
    }

    pub(crate) fn wait_until_idle(&self) {
        let asked = Instant::now();
        while self.count("requests_open") > 0 {
            assert!(asked.elapsed() < Duration::from_secs(20), "{} are open", self.count("requests_open"));
            thread::sleep(Duration::from_millis(50));
        }
    }
}
