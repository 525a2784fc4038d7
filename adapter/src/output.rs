//! Files written whole or not at all.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::diagnostic::Diagnostic;

/// Writes files into a folder, in the given order. Each appears with its whole content, by being renamed into
/// its place, which is also what makes Envoy look at a watched folder again. A file whose content stays is not
/// touched.
pub fn write(folder: &Path, files: &[(&str, String)]) -> Result<Vec<PathBuf>, Diagnostic> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error: io::Error| {
            Diagnostic::environment(format!("cannot write `{path}`: {}", plain(&error)))
                .help("choose another folder with `-o`, or make this one writable")
        }
    };
    fs::create_dir_all(folder).map_err(failed(folder))?;
    // All are written before the first is moved: a full disk leaves the old files as they are.
    let staging = tempfile::Builder::new().prefix(".enforcer-").tempdir_in(folder).map_err(failed(folder))?;
    let mut changed = Vec::new();
    for (name, text) in files {
        let path = folder.join(name);
        if fs::read(&path).is_ok_and(|old| old == text.as_bytes()) {
            continue;
        }
        let staged = staging.path().join(name);
        fs::write(&staged, text).map_err(failed(&path))?;
        // What only its owner could read stays so: configurations hold keys.
        if let Ok(old) = fs::metadata(&path) {
            fs::set_permissions(&staged, old.permissions()).map_err(failed(&path))?;
        }
        changed.push((staged, path));
    }
    for (staged, path) in &changed {
        fs::rename(staged, path).map_err(failed(path))?;
    }
    Ok(changed.into_iter().map(|(_, path)| path).collect())
}

/// An I/O error without the number that the standard library appends.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touches_only_what_changes_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let files = |text: &str| [("a.yaml", "same".to_owned()), ("b.yaml", text.to_owned())];
        let written = write(folder.path(), &files("one")).unwrap();
        assert_eq!(written, [folder.path().join("a.yaml"), folder.path().join("b.yaml")]);
        let written = write(folder.path(), &files("two")).unwrap();
        assert_eq!(written, [folder.path().join("b.yaml")]);
        let mut names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["a.yaml", "b.yaml"]);
    }

    #[test]
    fn says_why_it_cannot_write() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = write(&file, &[("a", String::new())]).unwrap_err();
        assert!(error.to_string().starts_with("cannot write `"), "{error}");
    }
}
