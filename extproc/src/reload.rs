//! The configuration folder, looked at again and again: a ConfigMap changes by a link that is swapped, which no
//! notification tells of reliably.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
    time::{Duration, SystemTime},
};

use enforcer_harness::Level;
use tokio::task::spawn_blocking;

use crate::{
    config::Config,
    generation::{Generation, LoadError, Modules},
    lane::News,
    process::{Process, Tally},
};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// Where a file really is, its length and its age: whether it is the same as before.
type Mark = (PathBuf, u64, Option<SystemTime>);

/// All files that lie in the folder, by name; those that cannot be read are left out.
fn marks(folder: &Path) -> Vec<Mark> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut marks: Vec<Mark> = entries
        .filter_map(|entry| {
            let path = entry.path().canonicalize().ok()?;
            let metadata = path.metadata().ok().filter(std::fs::Metadata::is_file)?;
            Some((path, metadata.len(), metadata.modified().ok()))
        })
        .collect();
    marks.sort();
    marks
}

/// A folder, and what was in it when it was looked at last.
#[derive(Debug)]
pub(crate) struct Watched {
    folder: PathBuf,
    known: Vec<Mark>,
}

impl Watched {
    pub(crate) fn new(folder: PathBuf) -> Self {
        let known = marks(&folder);
        Self { folder, known }
    }

    /// For ever: takes each new configuration that is good, and keeps the old one otherwise.
    pub(crate) async fn watch(mut self, process: Arc<Process>, modules: Arc<Modules>) {
        loop {
            tokio::time::sleep(EVERY).await;
            let found = marks(&self.folder);
            if found != self.known {
                self.known = found;
                reload(&process, &modules, &self.folder).await;
            }
        }
    }
}

async fn reload(process: &Arc<Process>, modules: &Arc<Modules>, folder: &Path) {
    let task = {
        let (process, modules, folder) = (Arc::clone(process), Arc::clone(modules), folder.to_owned());
        // Compiling takes its time.
        spawn_blocking(move || load(&process, &modules, &folder))
    };
    let refusal = match task.await {
        Ok(Ok(generation)) => {
            give(process, &Arc::new(generation)).await;
            modules.prune();
            None
        }
        Ok(Err(error)) => Some(error.to_string()),
        Err(error) => Some(error.to_string()),
    };
    match &refusal {
        None => {
            Tally::count(&process.tally.reloads);
            process.journal.line(Level::Info, "configuration", "the new configuration is in force");
        }
        Some(reason) => {
            Tally::count(&process.tally.reload_failures);
            let line = format!("the new configuration is not taken, the old one stays: {reason}");
            process.journal.line(Level::Error, "configuration", &line);
        }
    }
    *process.refusal.lock().unwrap_or_else(PoisonError::into_inner) = refusal;
}

fn load(process: &Process, modules: &Modules, folder: &Path) -> Result<Generation, LoadError> {
    Generation::new(&Config::read(folder)?, folder, modules, process)
}

/// New requests go to it from now on.
async fn give(process: &Process, generation: &Arc<Generation>) {
    process.take(Arc::clone(generation));
    for lane in process.lanes.get().into_iter().flatten() {
        // A worker that has ended takes no requests either.
        let _ = lane.send(News::Load(Arc::clone(generation))).await;
    }
}
