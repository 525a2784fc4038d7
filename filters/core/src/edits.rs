//! Changes to a message, as values: decided first, applied by the shell last.

use crate::{filter::Next, identity::Identity};

/// Changes to one direction of a request, and what the filter wants to see next.
#[derive(Debug, Default)]
pub struct Edits {
    /// Changes to the headers of the message in hand (request or response).
    pub headers: Vec<HeaderEdit>,
    /// The new body; only after [`crate::filter::BodyMode::Rewrite`].
    pub body: Option<Vec<u8>>,
    /// What was learnt about the caller, for the filters behind and the access log.
    pub identity: Option<Identity>,
    /// Which later events to deliver. Replaces what was asked before; `None` leaves it.
    pub next: Option<Next>,
}

/// One change to a header. Names are lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderEdit {
    /// Remove every value.
    Remove(String),
    /// Remove every value, then set this one.
    Set(String, Vec<u8>),
}

impl Edits {
    /// Nothing changes, but these events are wanted.
    pub fn next(next: Next) -> Self {
        Self { next: Some(next), ..Self::default() }
    }

    /// Sets a header, replacing every value that the message carries.
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push(HeaderEdit::Set(name.into(), value.into()));
        self
    }

    /// Removes every value of a header.
    #[must_use]
    pub fn remove(mut self, name: impl Into<String>) -> Self {
        self.headers.push(HeaderEdit::Remove(name.into()));
        self
    }

    /// These edits, then those of a filter further down the chain.
    #[must_use]
    pub fn then(mut self, later: Self) -> Self {
        self.headers.extend(later.headers);
        Self {
            headers: self.headers,
            body: later.body.or(self.body),
            identity: later.identity.or(self.identity),
            next: match (self.next, later.next) {
                (Some(a), Some(b)) => Some(a.join(b)),
                (a, b) => a.or(b),
            },
        }
    }
}
