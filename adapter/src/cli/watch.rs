//! `--watch`: build again whenever a file changes that the last build read.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::diagnostic::Diagnostic;

/// How long files must be at rest: an editor that saves, or a `git checkout`, is many events.
const REST: Duration = Duration::from_millis(100);

/// Files that are looked at, through their folders, because editors replace files by renaming.
pub(super) struct Files {
    watcher: RecommendedWatcher,
    changes: Receiver<notify::Result<notify::Event>>,
    files: BTreeSet<PathBuf>,
    folders: BTreeSet<PathBuf>,
}

impl Files {
    pub(super) fn new() -> Result<Self, Diagnostic> {
        let (sender, changes) = channel();
        let watcher = notify::recommended_watcher(sender).map_err(|error| failed(&error))?;
        Ok(Self { watcher, changes, files: BTreeSet::new(), folders: BTreeSet::new() })
    }

    /// Looks at these files from now on, besides those it looks at already.
    pub(super) fn add<'p>(&mut self, files: impl IntoIterator<Item = &'p Path>) -> Result<(), Diagnostic> {
        for file in files {
            let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
            // The folder's real path is what events name; the file itself may be absent for a moment.
            let folder = file.parent().unwrap_or(Path::new("/"));
            let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
            if let Some(name) = file.file_name() {
                self.files.insert(folder.join(name));
            }
            if self.folders.insert(folder.clone()) {
                self.watcher.watch(&folder, RecursiveMode::NonRecursive).map_err(|error| failed(&error))?;
            }
        }
        Ok(())
    }

    /// Waits until one of the files has changed and all have come to rest.
    pub(super) fn wait(&self) -> Result<(), Diagnostic> {
        loop {
            let event =
                self.changes.recv().map_err(|_| failed(&notify::Error::generic("the watcher has ended")))?;
            if self.concerns(&event) {
                self.rest();
                return Ok(());
            }
        }
    }

    /// Waits until nothing has happened to the files for a while, whatever else their folders see.
    fn rest(&self) {
        let mut changed = Instant::now();
        while let Some(left) = REST.checked_sub(changed.elapsed())
            && let Ok(event) = self.changes.recv_timeout(left)
        {
            if self.concerns(&event) {
                changed = Instant::now();
            }
        }
    }

    fn concerns(&self, event: &notify::Result<notify::Event>) -> bool {
        match event {
            Ok(event) => !event.kind.is_access() && event.paths.iter().any(|path| self.files.contains(path)),
            // Events were lost: anything may have changed.
            Err(_) => true,
        }
    }
}

fn failed(error: &notify::Error) -> Diagnostic {
    Diagnostic::environment(format!("files cannot be watched: {error}"))
        .help("run `enforcer build` without `--watch` after each change")
}
