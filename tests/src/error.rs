use std::io;
use std::path::PathBuf;

/// Why cases could not be run. A case that runs and fails is no error but an outcome.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder of cases cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A case file is not in the format of `docs/cases.md`.
    #[error("{}: {problem}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong in it, with the line where that is known.
        problem: String,
    },
    /// Something in a case cannot be made sense of: an unknown token, key or service.
    #[error("{0}")]
    Case(String),
    /// A module has not been built.
    #[error("`{}` is not there: run `make wasm`", path.display())]
    NoModule {
        /// Where it was expected.
        path: PathBuf,
    },
    /// A real Envoy or what stands around it failed.
    #[error(transparent)]
    Testbed(#[from] enforcer_testbed::Error),
}
