//! The demo's folder, and the command that works in it.

use std::error::Error;
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::Outcome;

const PETSTORE: &str = include_str!("../../../../envoy-examples/quickstart/petstore.yaml");
const SETTINGS: &str = include_str!("../../../../envoy-examples/quickstart/enforcer.yaml");
/// What those settings say, to be replaced by what is so on this machine.
const GATEWAY: &str = "address: 127.0.0.1, port: 8080";
const BACKEND: &str = "127.0.0.1:3000";
const MODULE: &str = "dist/auth.wasm";

/// Holds definition, settings, keys and Envoy's configuration. Goes away when it is dropped.
pub(crate) struct Workshop {
    folder: TempDir,
    pub(crate) enforcer: PathBuf,
    /// Where the definition is.
    pub(crate) definition: PathBuf,
    /// It is the quickstart's, and this a copy.
    pub(crate) petstore: bool,
}

impl Workshop {
    /// A new folder, for the user's definition or the quickstart's.
    pub(crate) fn open(definition: Option<&Path>) -> Outcome<Self> {
        let folder = TempDir::with_prefix("enforcer-demo-")?;
        let copy = folder.path().join("petstore.yaml");
        fs::write(&copy, PETSTORE)?;
        Ok(Self {
            enforcer: sibling("enforcer")?,
            definition: definition.map_or(Ok(copy), std::path::absolute)?,
            petstore: definition.is_none(),
            folder,
        })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes enforcer.yaml. Returns the names of the definition's security schemes that cannot be verified yet,
    /// in whose place a token is asked for.
    pub(crate) fn write_settings(
        &self,
        gateway: SocketAddr,
        backend: SocketAddr,
        module: &Path,
    ) -> Outcome<Vec<String>> {
        let schemes = if self.petstore { Vec::new() } else { self.undecided_schemes()? };
        let mut settings = settings(gateway, backend, &fs::canonicalize(module)?);
        if !schemes.is_empty() {
            let decided: serde_json::Map<String, Value> =
                schemes.iter().map(|name| (name.clone(), json!("jwt"))).collect();
            settings.push_str(&format!("auth: {}\n", json!({"schemes": decided})));
        }
        fs::write(self.folder().join("enforcer.yaml"), settings)?;
        Ok(schemes)
    }

    /// The schemes that `enforcer init` finds, which writes one line for each: `"name": jwt`.
    fn undecided_schemes(&self) -> Outcome<Vec<String>> {
        let aside = TempDir::with_prefix_in("init-", self.folder())?;
        succeed(Command::new(&self.enforcer).current_dir(aside.path()).arg("init").arg(&self.definition))?;
        let text = fs::read_to_string(aside.path().join("enforcer.yaml"))?;
        let names = text.lines().filter_map(|line| line.trim().strip_suffix(": jwt"));
        Ok(names.filter_map(|name| serde_json::from_str(name).ok()).collect())
    }

    /// `enforcer`, at work in the folder, where it finds its settings and keys.
    pub(crate) fn enforcer(&self) -> Command {
        let mut command = Command::new(&self.enforcer);
        command.current_dir(self.folder());
        command
    }

    /// `enforcer build` into the folder `gateway`.
    pub(crate) fn build(&self) -> Command {
        let mut command = self.enforcer();
        command.arg("build").arg(&self.definition);
        command.args(["-t", "envoy-xds", "-o", "gateway", "--development"]);
        command
    }
}

/// What those settings do not say: an event of each request, in the access log, for the report at the end.
const EVENTS: &str = "\nanalytics: {sinks: [{access_log: {}}]}\n";

/// The quickstart's settings with what is so on this machine.
fn settings(gateway: SocketAddr, backend: SocketAddr, module: &Path) -> String {
    SETTINGS
        .replace(GATEWAY, &format!("address: {}, port: {}", gateway.ip(), gateway.port()))
        .replace(BACKEND, &backend.to_string())
        .replace(MODULE, &json!(module.to_string_lossy()).to_string())
        + EVENTS
}

/// What a command printed: standard output and standard error.
pub(crate) struct Printed {
    pub(crate) result: String,
    pub(crate) said: String,
}

/// Runs a command to its end.
pub(crate) fn succeed(command: &mut Command) -> Outcome<Printed> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("cannot run `{program}`: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let printed = Printed { result: text(&output.stdout), said: text(&output.stderr) };
    if output.status.success() { Ok(printed) } else { Err(Box::new(Complaint(printed.said))) }
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
pub(crate) fn sibling(name: &str) -> Outcome<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    if path.is_file() {
        Ok(path)
    } else {
        Err(format!("there is no `{}`; run `make demo`", path.display()).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_take_what_is_so_on_this_machine() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let text = settings(address(1234), address(5678), Path::new("/tmp/a \"b\".wasm"));
        assert!(text.contains("{address: 127.0.0.1, port: 1234}"), "{text}");
        assert!(text.contains("backend: http://127.0.0.1:5678\n"), "{text}");
        assert!(text.contains("modules: \"/tmp/a \\\"b\\\".wasm\"\n"), "{text}");
        assert!(text.ends_with("\nanalytics: {sinks: [{access_log: {}}]}\n"), "{text}");
    }
}
