//! Runs case files on hosts and sums up.

mod case;
#[cfg(test)]
mod elsewhere;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use enforcer_testbed::EnvoyBinary;

use crate::Error;
use crate::format::{Case, CaseFile, HostKind};
use crate::host::{EnvoyHost, ExtProcHost, HarnessHost, Host};
use crate::packing::Packing;
use crate::scenarios::{self, Index};

/// What became of one case on one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything was as expected.
    Passed,
    /// These were the differences.
    Failed(Vec<String>),
    /// Not run, for this reason.
    Skipped(String),
    /// Other hosts show it.
    Elsewhere,
}

/// All outcomes on one host.
#[derive(Debug)]
struct HostReport {
    host: String,
    results: Vec<CaseResult>,
}

#[derive(Debug)]
struct CaseResult {
    /// `jwt.yaml: a good token`.
    name: String,
    sources: Vec<String>,
    outcome: Outcome,
}

/// What became of all cases on all hosts.
#[derive(Debug)]
pub struct Report {
    hosts: Vec<HostReport>,
    index: Option<Index>,
}

/// The oldest release that we support, where `make envoy-1.36` puts it.
const OLDER: &str = "../.tools/envoy-1.36.4/envoy";

/// Runs the case files of a folder, those of their cases whose file or name contains the filter, on every host
/// there is.
pub fn run_all(folder: &Path, filter: &str) -> Result<Report, Error> {
    let files = read_all(folder)?;
    if !files.iter().any(|(name, file)| !chosen(name, file, filter).is_empty()) {
        return Err(Error::Case(format!("no case has `{filter}` in its file or name")));
    }
    let hosts = hosts()?;
    // At the same time, because most of it is waiting.
    let reports = std::thread::scope(|scope| {
        let files = &files;
        let running: Vec<_> =
            hosts.iter().map(|host| scope.spawn(move || run_on(host.as_ref(), files, filter))).collect();
        let gone = |_| Err(Error::Case("a host panicked".into()));
        running.into_iter().map(|host| host.join().unwrap_or_else(gone)).collect::<Result<_, _>>()
    });
    Report::new(reports?)
}

/// The hosts that `$HOSTS` names, separated by commas; all of them if it names none.
fn hosts() -> Result<Vec<Box<dyn Host>>, Error> {
    const ALL: [&str; 9] =
        ["harness", "rust", "bundled", "separate", "envoy-bundled", "attached", "envoy", "oldest", "extproc"];
    let wanted = std::env::var("HOSTS").ok().filter(|names| !names.is_empty());
    let wanted: Vec<&str> = wanted.as_deref().map_or(ALL.to_vec(), |names| names.split(',').collect());
    if let Some(name) = wanted.iter().find(|name| !ALL.contains(name)) {
        return Err(Error::Case(format!("`{name}` in HOSTS is no host; there are {}", ALL.join(", "))));
    }
    let envoy = EnvoyBinary::find_or_skip()?;
    let oldest = older_envoy()?;
    let mut hosts: Vec<Box<dyn Host>> = Vec::new();
    for name in wanted {
        hosts.push(match (name, &envoy, &oldest) {
            ("harness", ..) => Box::new(HarnessHost::new(HostKind::Harness, Packing::AsWritten)),
            ("rust", ..) => Box::new(HarnessHost::new(HostKind::Rust, Packing::AsWritten)),
            ("bundled", ..) => Box::new(HarnessHost::new(HostKind::Harness, Packing::Bundled)),
            ("extproc", Some(binary), _) => Box::new(ExtProcHost::new(binary.clone())?),
            ("attached", Some(binary), _) => Box::new(EnvoyHost::attached(binary.clone())?),
            ("oldest", _, Some(binary)) => Box::new(EnvoyHost::new(binary.clone(), Packing::AsWritten)?),
            ("oldest", ..) => {
                println!("the cases run on no older Envoy: run `make envoy-1.36`, or set ENVOY_OLDER");
                continue;
            }
            (name, Some(binary), _) => Box::new(EnvoyHost::new(binary.clone(), packing(name))?),
            _ => {
                println!("the cases run on no real Envoy as `{name}`");
                continue;
            }
        });
    }
    hosts.dedup_by_key(|host| host.name());
    Ok(hosts)
}

/// How the Envoy of this name packs the filters of files.
fn packing(host: &str) -> Packing {
    match host {
        "separate" => Packing::Separate,
        "envoy-bundled" => Packing::Bundled,
        _ => Packing::AsWritten,
    }
}

fn older_envoy() -> Result<Option<EnvoyBinary>, Error> {
    let named = std::env::var_os("ENVOY_OLDER").filter(|path| !path.is_empty()).map(PathBuf::from);
    let installed = || Some(Path::new(env!("CARGO_MANIFEST_DIR")).join(OLDER)).filter(|path| path.is_file());
    Ok(named.or_else(installed).map(EnvoyBinary::at).transpose()?)
}

/// Case files with their names, in the order of the names.
fn read_all(folder: &Path) -> Result<Vec<(String, CaseFile)>, Error> {
    let unreadable = |source| Error::Read { path: folder.to_owned(), source };
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .map_err(unreadable)?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    paths.iter().map(|path| Ok((name(path), CaseFile::read(path)?))).collect()
}

/// Files that a host runs at once: most of their time is waiting.
const AT_ONCE: usize = 3;

/// Runs the cases whose name or file contains the filter.
fn run_on(host: &dyn Host, files: &[(String, CaseFile)], filter: &str) -> Result<HostReport, Error> {
    let next = AtomicUsize::new(0);
    let take = || {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let (name, file) = files.get(index)?;
        Some(run_file(host, name, file, filter).map(|results| (index, results)))
    };
    let gone = |_| vec![Err(Error::Case("a file's thread panicked".into()))];
    let done: Result<Vec<_>, Error> = std::thread::scope(|scope| {
        let running: Vec<_> =
            (0..AT_ONCE).map(|_| scope.spawn(|| std::iter::from_fn(take).collect())).collect();
        running.into_iter().flat_map(|files| files.join().unwrap_or_else(gone)).collect()
    });
    let mut done = done?;
    done.sort_by_key(|(index, _)| *index);
    Ok(HostReport { host: host.name(), results: done.into_iter().flat_map(|(_, results)| results).collect() })
}

fn run_file(host: &dyn Host, name: &str, file: &CaseFile, filter: &str) -> Result<Vec<CaseResult>, Error> {
    let chosen = chosen(name, file, filter);
    let outcomes = case::run(host, file, &chosen)?;
    let results = chosen.iter().zip(outcomes).map(|(case, outcome)| {
        let name = format!("{name}: {}", case.name);
        if let Outcome::Failed(differences) = &outcome {
            println!("FAILED on {}: {name}\n  {}", host.name(), differences.join("\n  "));
        }
        CaseResult { name, sources: case.source.clone(), outcome }
    });
    Ok(results.collect())
}

fn chosen<'a>(name: &str, file: &'a CaseFile, filter: &str) -> Vec<&'a Case> {
    file.cases.iter().filter(|case| format!("{name}: {}", case.name).contains(filter)).collect()
}

impl Report {
    fn new(hosts: Vec<HostReport>) -> Result<Self, Error> {
        Ok(Self { hosts, index: Index::from_env()? })
    }

    /// Scenarios of which every case passed on every host that ran it, and what is wrong with sources.
    fn scenarios(&self) -> (usize, Vec<String>) {
        let with = |wanted: fn(&Outcome) -> bool| {
            let results = self.hosts.iter().flat_map(|host| &host.results);
            let sources =
                results.filter(move |result| wanted(&result.outcome)).flat_map(|result| &result.sources);
            scenarios::distinct(sources.filter_map(|source| scenarios::scenario(source)), self.index.as_ref())
        };
        let (passed, mut mistakes) = with(|outcome| *outcome == Outcome::Passed);
        let (failed, more) = with(|outcome| matches!(outcome, Outcome::Failed(_) | Outcome::Skipped(_)));
        mistakes.extend(more);
        mistakes.sort();
        mistakes.dedup();
        (passed.difference(&failed).count(), mistakes)
    }

    /// The lines that end a run.
    pub fn summary(&self) -> String {
        let mut lines = Vec::new();
        for host in &self.hosts {
            let count = |wanted: fn(&Outcome) -> bool| {
                host.results.iter().filter(|result| wanted(&result.outcome)).count()
            };
            for result in &host.results {
                if let Outcome::Skipped(reason) = &result.outcome {
                    lines.push(format!("skipped on {}: {}: {reason}", host.host, result.name));
                }
            }
            lines.push(format!(
                "cases on {}: {} passed, {} failed, {} skipped, {} for other hosts",
                host.host,
                count(|outcome| *outcome == Outcome::Passed),
                count(|outcome| matches!(outcome, Outcome::Failed(_))),
                count(|outcome| matches!(outcome, Outcome::Skipped(_))),
                count(|outcome| *outcome == Outcome::Elsewhere),
            ));
        }
        let (passed, mistakes) = self.scenarios();
        lines.extend(mistakes);
        let unchecked =
            if self.index.is_some() { "" } else { " (names unchecked: ENFORCER_SAMPLES is not set)" };
        lines.push(format!("Choreo Connect scenarios: {passed}/{}{unchecked}", scenarios::TOTAL));
        lines.join("\n")
    }

    /// True when nothing failed and every scenario named exists.
    pub fn passed(&self) -> bool {
        let failed = |result: &CaseResult| matches!(result.outcome, Outcome::Failed(_));
        !self.hosts.iter().flat_map(|host| &host.results).any(failed) && self.scenarios().1.is_empty()
    }
}
