//! `$ref` (RFC 6901 JSON Pointers behind a `#`), inside a file and across files.

use std::path::{Component, Path, PathBuf};

use indexmap::IndexMap;

use super::{Document, Kind, Source, View, parse};
use crate::diagnostic::{Diagnostic, Diagnostics};

/// A definition and every file that it refers to.
///
/// References may lead to files below the definition's own folder or below the folder that the command runs
/// in; everything else is out of bounds, so that a definition from elsewhere cannot read the machine's files.
#[derive(Debug)]
pub struct Library {
    /// By canonical path; the definition itself is first.
    files: IndexMap<PathBuf, Result<Document, Diagnostic>>,
    bounds: Vec<PathBuf>,
}

/// References that one reference may lead through before it counts as a cycle.
const MAX_STEPS: usize = 32;

impl Library {
    /// Reads the definition and, from file to file, what it refers to.
    pub fn load(path: &Path) -> Result<Self, Diagnostic> {
        let document = parse(&Source::read(path)?)?;
        Ok(Self::of(document, path))
    }

    /// The same for a definition that is already parsed.
    pub fn of(document: Document, path: &Path) -> Self {
        let bounds =
            [folder(path), Path::new(".")].iter().filter_map(|folder| folder.canonicalize().ok()).collect();
        let mut library = Self { files: IndexMap::new(), bounds };
        let canonical = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let mut wanted = targets(&document);
        library.files.insert(canonical, Ok(document));
        while let Some(path) = wanted.pop() {
            // What is absent or out of bounds is reported where it is needed.
            let Ok(canonical) = path.canonicalize() else { continue };
            if library.files.contains_key(&canonical) || !library.within_bounds(&canonical) {
                continue;
            }
            let read = Source::read(&path).and_then(|source| parse(&source));
            if let Ok(document) = &read {
                wanted.extend(targets(document));
            }
            library.files.insert(canonical, read);
        }
        library
    }

    /// The definition itself.
    pub fn root(&self) -> Option<View<'_>> {
        self.files.first().and_then(|(_, file)| file.as_ref().ok()).map(Document::view)
    }

    /// Every file that was read: what `--watch` looks at.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.keys().map(PathBuf::as_path)
    }

    /// What a value stands for: itself, or what its `$ref` leads to.
    pub fn resolve<'a>(&'a self, view: View<'a>) -> Result<View<'a>, Diagnostic> {
        self.resolve_if(view, |_| Ok(()))
    }

    /// The same, after `check` has accepted each value with a `$ref` on the way: what stands beside the `$ref`
    /// does not count.
    pub fn resolve_if<'a>(
        &'a self,
        view: View<'a>,
        check: impl Fn(View<'a>) -> Result<(), Diagnostic>,
    ) -> Result<View<'a>, Diagnostic> {
        let mut at = view;
        for _ in 0..MAX_STEPS {
            let Some((reference, text)) = reference(at) else { return Ok(at) };
            check(at)?;
            at = self.target(at, text).map_err(|(message, help)| {
                Diagnostic::error(format!("`$ref: {text}` {message}")).at(reference.place()).help(help)
            })?;
        }
        let place = reference(view).map_or_else(|| view.place(), |(reference, _)| reference.place());
        Err(Diagnostic::error("this `$ref` leads back to itself")
            .at(place)
            .help("replace one of the references in the circle with what it should stand for"))
    }

    fn target<'a>(&'a self, from: View<'a>, text: &str) -> Result<View<'a>, (String, String)> {
        if text.contains("://") {
            return Err((
                "is a URL, and nothing is downloaded for a definition".to_owned(),
                "save the file beside the definition and refer to it by its path".to_owned(),
            ));
        }
        let (file, pointer) = text.split_once('#').unwrap_or((text, ""));
        let document = if file.is_empty() {
            self.containing(from)
        } else {
            let path = beside(from.source, file);
            let canonical = path.canonicalize().map_err(|_| {
                (
                    format!("names a file that does not exist: `{}`", path.display()),
                    "check the path; it is relative to this file".to_owned(),
                )
            })?;
            if !self.within_bounds(&canonical) {
                return Err((
                    "leads out of the definition's folder".to_owned(),
                    "move the file below that folder, or run the command from a folder above both".to_owned(),
                ));
            }
            match self.files.get(&canonical) {
                Some(Err(problem)) => {
                    return Err((
                        format!("names a file that cannot be read: {problem}"),
                        problem
                            .place()
                            .map_or_else(|| "fix that file".to_owned(), |place| format!("fix {place}")),
                    ));
                }
                Some(Ok(document)) => Some(document),
                None => None,
            }
        };
        let missing = || {
            (
                "leads to nothing".to_owned(),
                format!(
                    "check the name after `#`: a key is missing in `{}`",
                    if file.is_empty() { from.source.name() } else { file }
                ),
            )
        };
        let mut at = document.ok_or_else(missing)?.view();
        for step in pointer.split('/').skip(1) {
            let step = percent_decode(step).replace("~1", "/").replace("~0", "~");
            at = match &at.node.kind {
                Kind::Map(_) => at.get(&step),
                Kind::List(_) => step.parse().ok().and_then(|index| at.items().nth(index)),
                Kind::Scalar { .. } => None,
            }
            .ok_or_else(missing)?;
        }
        Ok(at)
    }

    fn containing(&self, view: View<'_>) -> Option<&Document> {
        self.files.values().flatten().find(|document| std::sync::Arc::ptr_eq(&document.source, view.source))
    }

    fn within_bounds(&self, canonical: &Path) -> bool {
        self.bounds.iter().any(|bound| canonical.starts_with(bound))
    }

    /// References in parts of the definition that are not needed yet, such as schemas: if they lead nowhere
    /// the definition is still usable, and its author will want to know. Those that were needed have been
    /// reported.
    pub fn check_all(&self, findings: &mut Diagnostics) {
        for document in self.files.values().flatten() {
            let mut seen = std::collections::HashSet::new();
            walk(document.view(), &mut |view, text| {
                let pointer = text.split_once('#').map_or("", |(_, pointer)| pointer);
                // `#name` is a `$anchor` of JSON Schema, which only a schema reader can find.
                let plain = pointer.is_empty() || pointer.starts_with('/');
                if !plain || text.contains("://") || !seen.insert(text.to_owned()) {
                    return;
                }
                if let Err((message, help)) = self.target(view, text) {
                    let place =
                        reference(view).map_or_else(|| view.place(), |(reference, _)| reference.place());
                    if findings.iter().all(|finding| finding.place() != Some(&place)) {
                        findings.push(
                            Diagnostic::warning(format!("`$ref: {text}` {message}")).at(place).help(help),
                        );
                    }
                }
            });
        }
    }
}

/// The `$ref` of a value that has one.
fn reference<'a>(view: View<'a>) -> Option<(View<'a>, &'a str)> {
    let reference = view.get("$ref")?;
    reference.text().map(|text| (reference, text))
}

/// Calls `found` for every mapping with a `$ref`, except in examples and extensions, where the word means nothing.
fn walk<'a>(view: View<'a>, found: &mut impl FnMut(View<'a>, &'a str)) {
    if let Some((_, text)) = reference(view) {
        found(view, text);
        return;
    }
    for (key, child) in view.entries() {
        let literal =
            matches!(key, "example" | "examples" | "default" | "enum" | "const") || key.starts_with("x-");
        if !literal {
            walk(child, found);
        }
    }
    for item in view.items() {
        walk(item, found);
    }
}

fn targets(document: &Document) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    walk(document.view(), &mut |view, text| {
        let file = text.split('#').next().unwrap_or_default();
        if !file.is_empty() && !text.contains("://") {
            paths.push(beside(view.source, file));
        }
    });
    paths.sort();
    paths.dedup();
    paths
}

/// The path of `file`, which a reference in `source` names, without needless `./` and `folder/../`.
fn beside(source: &Source, file: &str) -> PathBuf {
    let mut path = PathBuf::new();
    for part in folder(&source.path()).join(percent_decode(file)).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(path.components().next_back(), Some(Component::Normal(_))) => {
                path.pop();
            }
            other => path.push(other),
        }
    }
    path
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// `%7Bid%7D` to `{id}`; an escape that is none stays as it is.
fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = tail.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library(files: &[(&str, &str)]) -> (tempfile::TempDir, Library) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let library = Library::load(&folder.path().join(files[0].0)).unwrap();
        (folder, library)
    }

    fn resolve(library: &Library, key: &str) -> Result<String, String> {
        let view = library.root().unwrap().get(key).unwrap();
        library.resolve(view).map(|found| found.node.to_json().to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn follows_references_within_and_across_files() {
        let (_folder, library) = library(&[
            (
                "api/a.yaml",
                "here: {$ref: '#/things/a~1b~0%7Bc%7D/1'}\nthings: {'a/b~{c}': [1, 2]}\nthere: {$ref: 'parts/b.yaml#/x'}\nwhole: {$ref: ./parts/b.yaml}\n",
            ),
            ("api/parts/b.yaml", "x: {$ref: '#/y'}\ny: {$ref: '../a.yaml#/things'}\n"),
        ]);
        assert_eq!(resolve(&library, "here").unwrap(), "2");
        assert_eq!(resolve(&library, "there").unwrap(), r#"{"a/b~{c}":[1,2]}"#);
        assert!(resolve(&library, "whole").unwrap().starts_with(r#"{"x":"#));
        assert_eq!(library.paths().count(), 2);
    }

    #[test]
    fn says_what_is_wrong_with_a_reference() {
        let (_folder, library) = library(&[
            (
                "a.yaml",
                "circle: {$ref: '#/other'}\nother: {$ref: '#/circle'}\nnowhere: {$ref: '#/x/y'}\nurl: {$ref: 'https://e.com/a.yaml'}\nout: {$ref: ../../../../../../../../etc/passwd}\nabsent: {$ref: b.yaml}\nbroken: {$ref: c.yaml}\n",
            ),
            ("c.yaml", "a: [1\n"),
        ]);
        let error = |key| resolve(&library, key).unwrap_err();
        assert_eq!(error("circle"), "this `$ref` leads back to itself");
        assert_eq!(error("nowhere"), "`$ref: #/x/y` leads to nothing");
        assert!(error("url").contains("nothing is downloaded"));
        assert!(error("out").contains("leads out of the definition's folder"));
        assert!(error("absent").contains("names a file that does not exist"));
        assert!(error("broken").contains("cannot be read: this is neither YAML nor JSON"));
        let mut findings = Diagnostics::default();
        library.check_all(&mut findings);
        assert_eq!(findings.iter().count(), 4);
        assert!(!findings.failed());
    }

    #[test]
    fn links_out_of_the_folder_are_out_of_bounds() {
        let (folder, _) = library(&[("in/a.yaml", "a: {$ref: link.yaml}\n"), ("secret.yaml", "b: 1\n")]);
        std::os::unix::fs::symlink(folder.path().join("secret.yaml"), folder.path().join("in/link.yaml"))
            .unwrap();
        let library = Library::load(&folder.path().join("in/a.yaml")).unwrap();
        assert!(resolve(&library, "a").unwrap_err().contains("leads out"));
    }
}
