//! A real Envoy and the world around it, for tests and the demo
