use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// Why a part of the testbed could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No Envoy where one was looked for.
    #[error("no Envoy binary found in {looked}; run `make envoy`, or set ENVOY to the path of one")]
    NoEnvoy {
        /// The places, in the order of the search.
        looked: String,
    },
    /// `ENVOY` names something that is not there.
    #[error("ENVOY is set to `{}`, which is not a file; run `make envoy` and unset it, or correct it", path.display())]
    EnvoyMissing {
        /// The value of the variable.
        path: PathBuf,
    },
    /// `envoy --version` printed something else than a version.
    #[error("cannot find a version number in what `envoy --version` printed: `{output}`")]
    NoVersion {
        /// Standard output of the command.
        output: String,
    },
    /// `envoy --mode validate` refused the configuration.
    #[error("Envoy refuses the configuration ({status}):\n{log}")]
    Rejected {
        /// How the process ended.
        status: ExitStatus,
        /// Everything Envoy printed.
        log: String,
    },
    /// Envoy ended before it was asked to.
    #[error("Envoy ended by itself ({status}); the end of its log:\n{log}")]
    Exited {
        /// How the process ended.
        status: ExitStatus,
        /// The last lines of the component log.
        log: String,
    },
    /// Something did not happen in time.
    #[error("{what} did not happen within {limit:?}\n{context}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        limit: Duration,
        /// What did happen, to read beside the failure.
        context: String,
    },
    /// Envoy has no listener of that name that accepts connections.
    #[error("no listener `{name}` with an IP address; Envoy has {known}")]
    NoListener {
        /// The name asked for.
        name: String,
        /// The names Envoy's admin interface lists.
        known: String,
    },
    /// The admin interface answered with something unexpected.
    #[error("Envoy's admin interface answered `{path}` with {status}: {body}")]
    Admin {
        /// Path and query of the request.
        path: String,
        /// HTTP status.
        status: u16,
        /// Start of the body.
        body: String,
    },
    /// The other side sent something that is not HTTP/1.1.
    #[error("not an HTTP/1.1 message: {0}")]
    Http(String),
    /// A key could not be made or used.
    #[error("cannot {what}: {reason}")]
    Key {
        /// What was tried.
        what: &'static str,
        /// What the cryptography said.
        reason: String,
    },
    /// The operating system refused.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl Error {
    /// Wraps an I/O error with what was being done, to be read after `cannot`.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// True when the other side was silent for too long.
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::Timeout { .. } => true,
            Self::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
            }
            _ => false,
        }
    }
}
