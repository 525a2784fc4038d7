use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::{Envoy, Error};

/// The release that `make envoy` installs and that Enforcer is developed against.
const PINNED: &str = ".tools/envoy-1.40.0/envoy";

/// An Envoy configuration: text in YAML or JSON, or a file of either.
#[derive(Clone, Debug)]
pub enum Config {
    /// The text of a bootstrap configuration.
    Text(String),
    /// A bootstrap configuration on disk; its name has to end in `.yaml` or `.json`.
    File(PathBuf),
}

impl From<&str> for Config {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Config {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&Path> for Config {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

impl From<PathBuf> for Config {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

/// The release of an Envoy, such as 1.40.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
    /// The third number.
    pub patch: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// An Envoy that is installed.
#[derive(Clone, Debug)]
pub struct EnvoyBinary {
    path: PathBuf,
}

impl EnvoyBinary {
    /// Takes what the variable `ENVOY` names, else `envoy` on the PATH, else what `make envoy` has installed.
    pub fn find() -> Result<Self, Error> {
        if let Some(path) = std::env::var_os("ENVOY").filter(|value| !value.is_empty()) {
            return Self::at(path);
        }
        let on_path = std::env::var_os("PATH").unwrap_or_default();
        let pinned = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name(PINNED);
        let mut candidates = std::env::split_paths(&on_path).map(|folder| folder.join("envoy"));
        candidates
            .find(|path| path.is_file())
            .or_else(|| pinned.is_file().then(|| pinned.clone()))
            .map(|path| Self { path })
            .ok_or_else(|| Error::NoEnvoy { looked: format!("PATH, `{}`", pinned.display()) })
    }

    /// [`EnvoyBinary::find`] for a test that can do without: where there is none, says so on standard output.
    pub fn find_or_skip() -> Result<Option<Self>, Error> {
        match Self::find() {
            Err(error @ Error::NoEnvoy { .. }) => {
                println!("skipped: {error}");
                Ok(None)
            }
            found => found.map(Some),
        }
    }

    /// The Envoy at this path.
    pub fn at(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        if path.is_file() { Ok(Self { path }) } else { Err(Error::EnvoyMissing { path }) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Asks it for its release.
    pub fn version(&self) -> Result<Version, Error> {
        let output = Command::new(&self.path)
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .map_err(Error::io(format!("run `{}`", self.path.display())))?;
        let output = String::from_utf8_lossy(&output.stdout).into_owned();
        parse_version(&output).ok_or(Error::NoVersion { output })
    }

    /// Prepares a run with this configuration.
    pub fn options(&self, config: impl Into<Config>) -> EnvoyOptions {
        EnvoyOptions {
            binary: self.clone(),
            config: config.into(),
            concurrency: 1,
            log_level: "info".into(),
            component_log_level: None,
            directory: None,
            environment: Vec::new(),
            arguments: Vec::new(),
        }
    }

    /// Lets Envoy check a configuration (`--mode validate`), which loads and configures every Wasm module too.
    pub fn validate(&self, config: impl Into<Config>) -> Result<(), Error> {
        self.options(config).validate()
    }
}

/// `envoy  version: 1f0c0f7.../1.40.0/Clean/RELEASE/BoringSSL`
fn parse_version(output: &str) -> Option<Version> {
    let release = output.split("version:").nth(1)?.split('/').nth(1)?;
    let mut numbers = release.split(['.', '-']).map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some(Version { major: next()?, minor: next()?, patch: next()? })
}

/// How to run Envoy.
#[derive(Clone, Debug)]
pub struct EnvoyOptions {
    binary: EnvoyBinary,
    config: Config,
    concurrency: u32,
    log_level: String,
    component_log_level: Option<String>,
    directory: Option<PathBuf>,
    environment: Vec<(OsString, OsString)>,
    arguments: Vec<OsString>,
}

impl EnvoyOptions {
    /// Worker threads; 1 unless told otherwise, so that per-worker state is predictable.
    #[must_use]
    pub fn concurrency(mut self, workers: u32) -> Self {
        self.concurrency = workers;
        self
    }

    /// `--log-level`; `info` unless told otherwise.
    #[must_use]
    pub fn log_level(mut self, level: &str) -> Self {
        self.log_level = level.to_owned();
        self
    }

    /// `--component-log-level`, such as `wasm:debug`.
    #[must_use]
    pub fn component_log_level(mut self, levels: &str) -> Self {
        self.component_log_level = Some(levels.to_owned());
        self
    }

    /// The folder that relative file names in the configuration start from; the test's own otherwise.
    #[must_use]
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Sets a variable in Envoy's environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Adds an argument to Envoy's command line.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Starts Envoy and waits until it serves.
    pub fn start(&self) -> Result<Envoy, Error> {
        let scratch = scratch()?;
        let command = self.command(scratch.path())?;
        Envoy::start(command, scratch)
    }

    /// Lets Envoy check the configuration and end.
    pub fn validate(&self) -> Result<(), Error> {
        let scratch = scratch()?;
        let output = self
            .command(scratch.path())?
            .args(["--mode", "validate"])
            .output()
            .map_err(Error::io(format!("run `{}`", self.binary.path.display())))?;
        if output.status.success() {
            return Ok(());
        }
        let log = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        Err(Error::Rejected { status: output.status, log })
    }

    /// The command line both modes share. A text configuration becomes a file in `scratch`.
    fn command(&self, scratch: &Path) -> Result<Command, Error> {
        let config = match &self.config {
            Config::File(path) => path.clone(),
            Config::Text(text) => {
                let path = scratch.join("envoy.yaml");
                fs::write(&path, text).map_err(Error::io(format!("write `{}`", path.display())))?;
                path
            }
        };
        let mut command = Command::new(&self.binary.path);
        command.stdin(Stdio::null()).arg("--config-path").arg(config);
        // Envoy keeps several processes of one machine apart by shared memory named after the base id; without
        // hot restart it needs none.
        command.arg("--disable-hot-restart").args(["--concurrency", &self.concurrency.to_string()]);
        command.args(["--log-level", &self.log_level]);
        if let Some(levels) = &self.component_log_level {
            command.args(["--component-log-level", levels]);
        }
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command.envs(self.environment.iter().cloned()).args(&self.arguments);
        Ok(command)
    }
}

fn scratch() -> Result<TempDir, Error> {
    TempDir::with_prefix("enforcer-envoy-").map_err(Error::io("make a temporary folder"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions() {
        let release = "\n/opt/envoy  version: 1f0c0f7e/1.40.0/Clean/RELEASE/BoringSSL\n\n";
        assert_eq!(parse_version(release), Some(Version { major: 1, minor: 40, patch: 0 }));
        let development = "envoy  version: 1f0c0f7e/1.41.0-dev/Clean/RELEASE/BoringSSL";
        assert_eq!(parse_version(development), Some(Version { major: 1, minor: 41, patch: 0 }));
        assert_eq!(parse_version("envoy"), None);
    }

    #[test]
    fn says_where_it_looked() {
        let error = EnvoyBinary::at("/nowhere/envoy").unwrap_err().to_string();
        assert!(error.contains("`/nowhere/envoy`") && error.contains("make envoy"), "{error}");
    }
}
