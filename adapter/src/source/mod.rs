//! Files as the user wrote them: text, line numbers, and the tree of values in between.

mod parse;
mod refs;
mod tree;
mod yaml;

pub use parse::parse;
pub use refs::Library;
pub use tree::{Document, Entry, Kind, Node, View};
pub use yaml::to_yaml;

use std::{fmt, fs::File, io::Read as _, ops::Range, path::Path, path::PathBuf, sync::Arc};

use crate::diagnostic::Diagnostic;

const BYTE_ORDER_MARK: &str = "\u{feff}";

/// The largest file that is read. The largest definitions known have about ten megabytes.
const MAX_BYTES: u64 = 64 << 20;

/// Reads a file whole, unless it has no end; the error is one line for people.
pub fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(|error| crate::output::plain(&error))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= MAX_BYTES) {
        Ok(bytes)
    } else {
        Err(format!("it has more than {} MiB", MAX_BYTES >> 20))
    }
}

/// The same of a file of text.
pub fn read_text(path: &Path) -> Result<String, String> {
    String::from_utf8(read_file(path)?).map_err(|_| "it is not UTF-8 text".to_owned())
}

/// A file's text and the name under which diagnostics show it.
#[derive(PartialEq, Eq)]
pub struct Source {
    name: String,
    text: String,
    /// The file begins with a byte order mark, which is not part of the text.
    marked: bool,
}

impl Source {
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { name: name.into(), text: text.into(), marked: false })
    }

    /// Reads a file that must be UTF-8, which JSON requires (RFC 8259 section 8.1) and YAML is in practice.
    pub fn read(path: &Path) -> Result<Arc<Self>, Diagnostic> {
        let name = path.display().to_string();
        let bytes = read_file(path).map_err(|error| {
            Diagnostic::error(format!("cannot read `{name}`: {error}"))
                .help("check the path; it is relative to the folder the command runs in")
        })?;
        // Editors on Windows like to begin files with a byte order mark; neither format needs one.
        let rest = bytes.strip_prefix(BYTE_ORDER_MARK.as_bytes());
        match std::str::from_utf8(rest.unwrap_or(&bytes)) {
            Ok(text) => Ok(Arc::new(Self { name, text: text.to_owned(), marked: rest.is_some() })),
            Err(error) => Err(Diagnostic::error(format!(
                "`{name}` is not UTF-8 text: the byte at offset {} does not belong there",
                error.valid_up_to()
            ))
            .help("save the file as UTF-8")),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Another text as this file has its own: behind a byte order mark if there is one.
    pub fn encode(&self, text: &str) -> String {
        format!("{}{text}", if self.marked { BYTE_ORDER_MARK } else { "" })
    }

    /// The file's path, as far as it is one.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(&self.name)
    }

    /// Line and column, both counted from 1, of a byte offset. Columns count characters.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line = before.matches('\n').count().saturating_add(1);
        let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()).saturating_add(1);
        (line, column)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({}, {} bytes)", self.name, self.text.len())
    }
}

/// A range of bytes in a file: what a diagnostic points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub source: Arc<Source>,
    pub range: Range<usize>,
}

impl Place {
    pub fn new(source: &Arc<Source>, range: Range<usize>) -> Self {
        Self { source: Arc::clone(source), range }
    }

    /// Line and column of the start, both counted from 1.
    pub fn position(&self) -> (usize, usize) {
        self.source.position(self.range.start)
    }
}

/// `file:line`, as compilers print it and editors understand it.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source.name(), self.position().0)
    }
}
