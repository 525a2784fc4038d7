//! What every Enforcer filter is built from: no I/O, no proxy-wasm
