//! The one place that talks proxy-wasm: drives any core filter inside Envoy
