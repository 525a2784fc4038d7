//! The test front end: everything around the host that a test can set and look at.

mod backend;
mod builder;
mod harness;
mod outcome;
mod request;
mod thread;
mod timers;
mod upstream;
mod world;

pub use backend::{Backend, BackendRequest};
pub use builder::{Builder, FailurePolicy, HarnessError};
pub use harness::{Harness, UpstreamHandle, WorkerThread};
pub use outcome::{Handle, Outcome, Paused};
pub use request::Request;
pub use upstream::{Call, Upstream};
pub use world::{LogLine, Vm};
