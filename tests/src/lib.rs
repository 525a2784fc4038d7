//! Behaviour written once as data, run on every host
