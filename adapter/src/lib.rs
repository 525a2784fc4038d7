//! The enforcer command: API definitions in, Envoy configuration out
