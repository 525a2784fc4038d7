#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| enforcer_security_tests::jwks(data));
