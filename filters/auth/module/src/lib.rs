//! auth.wasm
