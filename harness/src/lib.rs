//! A proxy-wasm host on wasmtime: tests any filter without Envoy
