//! A demo that waits for the user.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use enforcer_testbed::{EnvoyBinary, Process};
use rustix::process::{Pid, Signal, kill_process_group};

/// Longer than anything takes on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);
/// Printed last, before the demo waits for the user.
const READY: &str = "What happens is shown here.";

/// The demo's command; `None`, said on standard output, where there is no Envoy.
pub(crate) fn demo() -> Option<Command> {
    let envoy = EnvoyBinary::find_or_skip().unwrap()?;
    let demo = Path::new(env!("CARGO_BIN_EXE_enforcer-demo"));
    assert!(demo.with_file_name("enforcer").is_file(), "run `cargo build -p enforcer-adapter` first");
    let module = demo.parent().unwrap().with_file_name("wasm32-wasip1").join("wasm/bundle.wasm");
    assert!(module.is_file(), "no `{}`; run `make wasm`", module.display());
    let mut command = Command::new(demo);
    command.env("ENVOY", envoy.path()).env("NO_COLOR", "1").arg("--module").arg(module);
    Some(command)
}

/// Standard output and standard error.
pub(crate) fn text(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// What the line with this label says first.
pub(crate) fn word<'t>(printed: &'t str, label: &str) -> &'t str {
    let line = printed.lines().find_map(|line| line.trim_start().strip_prefix(label)).unwrap();
    line.split_whitespace().next().unwrap()
}

pub(crate) struct Running {
    pub(crate) process: Process,
    /// Everything up to the invitation to try things.
    pub(crate) printed: String,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        // A group of its own, as a shell gives it, for Ctrl-C to reach.
        let process = Process::spawn(command.process_group(0)).unwrap();
        let ready = process.stdout().wait_for(0, |line| line.starts_with(READY), SOON);
        ready.unwrap_or_else(|error| panic!("{error}\n{}", process.stderr().since(0).join("\n")));
        let printed = process.stdout().since(0).join("\n").trim_end().to_owned() + "\n";
        Self { process, printed }
    }

    pub(crate) fn gateway(&self) -> SocketAddr {
        self.address("gateway")
    }

    pub(crate) fn backend(&self) -> SocketAddr {
        self.address("backend")
    }

    fn address(&self, label: &str) -> SocketAddr {
        word(&self.printed, label).strip_prefix("http://").unwrap().parse().unwrap()
    }

    pub(crate) fn folder(&self) -> PathBuf {
        word(&self.printed, "files").into()
    }

    /// Waits for a line that the demo prints after the invitation.
    pub(crate) fn wait_for(&self, matches: impl Fn(&str) -> bool) -> String {
        self.process.stdout().wait_for(0, matches, SOON).unwrap()
    }

    /// Ctrl-C: everything in the demo's group gets the signal at once. Returns what the demo said to it.
    pub(crate) fn interrupt(mut self) -> String {
        let group = Pid::from_raw(self.process.id().try_into().unwrap()).unwrap();
        kill_process_group(group, Signal::INT).unwrap();
        let asked = Instant::now();
        let status = loop {
            if let Some(status) = self.process.ended().unwrap() {
                break status;
            }
            assert!(asked.elapsed() < SOON, "the demo does not end");
            std::thread::sleep(Duration::from_millis(10));
        };
        assert!(status.success(), "{status}: {}", self.process.stderr().since(0).join("\n"));
        self.wait_for(|line| line.starts_with("Stopped"))
    }
}

/// Ids of the processes whose command line holds the text.
pub(crate) fn processes_of(text: &str) -> Vec<String> {
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    all.filter(|id| fs::read_to_string(format!("/proc/{id}/cmdline")).is_ok_and(|line| line.contains(text)))
        .collect()
}
