use enforcer_harness::{Harness, LoadError, Module, Request};

/// What every module must have, and one line more.
fn module(line: &str) -> Result<Module, LoadError> {
    let text = format!(
        r#"(module
            {line}
            (memory (export "memory") 1)
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "malloc") (param i32) (result i32) i32.const 1024))"#
    );
    Module::from_bytes(&wat::parse_str(text).unwrap())
}

#[test]
fn a_module_without_callbacks_lets_everything_through() {
    let mut envoy = Harness::builder(&module("").unwrap()).start().unwrap();
    assert_eq!(envoy.request(Request::post("/").body("x")).status(), 200);
}

#[test]
fn imports_that_envoy_lacks_are_all_named() {
    let error = module(
        r#"(import "env" "proxy_redis_call" (func))
           (import "wasi_snapshot_preview1" "fd_explode" (func))
           (import "env" "proxy_log" (func (param i32 i32 i32) (result i32)))"#,
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "Envoy does not have these imports: `env.proxy_redis_call`, `wasi_snapshot_preview1.fd_explode`"
    );
}

#[test]
fn an_import_of_the_wrong_type_is_refused() {
    let error = module(r#"(import "env" "proxy_log" (func (param i32)))"#).unwrap_err();
    assert!(matches!(error, LoadError::Mismatch(_)), "{error}");
    assert!(error.to_string().contains("proxy_log"), "{error}");
}

#[test]
fn what_every_module_must_export_is_asked_for() {
    let load = |exports: &str| {
        Module::from_bytes(&wat::parse_str(format!("(module {exports})")).unwrap()).unwrap_err()
    };
    let (abi, memory) = (r#"(func (export "proxy_abi_version_0_2_1"))"#, r#"(memory (export "memory") 1)"#);
    assert!(matches!(load(memory), LoadError::UnknownAbi));
    assert!(matches!(load(abi), LoadError::NoMemory));
    assert!(matches!(load(&format!("{abi}{memory}")), LoadError::NoAllocator));
    assert!(matches!(Module::from_bytes(b"text").unwrap_err(), LoadError::Invalid(_)));
    let error = Module::from_file("/nowhere.wasm").unwrap_err().to_string();
    assert!(
        error.starts_with("cannot read `/nowhere.wasm`") && error.ends_with("build the module first"),
        "{error}"
    );
}

/// A module whose initialiser, tick or configuration runs some instructions.
fn running(import: &str, function: &str) -> Module {
    module(&format!("{import}\n{function}")).unwrap()
}

#[test]
fn host_calls_are_forbidden_while_the_module_is_initialised() {
    let module = running(
        r#"(import "env" "proxy_get_current_time_nanoseconds" (func $now (param i32) (result i32)))"#,
        r#"(func (export "_initialize") (drop (call $now (i32.const 0))))"#,
    );
    let error = Harness::builder(&module).start().unwrap_err().to_string();
    assert!(error.contains("`proxy_get_current_time_nanoseconds` is not allowed"), "{error}");
}

#[test]
fn wasi_beyond_what_envoy_offers_fails_with_envoys_numbers() {
    let imports = r#"
        (import "wasi_snapshot_preview1" "path_open"
            (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_sync" (func $sync (param i32) (result i32)))
        (import "wasi_snapshot_preview1" "sock_shutdown" (func $shutdown (param i32 i32) (result i32)))"#;
    let zero = "(i32.const 0)";
    // Configuration succeeds only if every number is as expected.
    let configure = format!(
        r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
            (i32.and
                (i32.eq (i32.const 44) (call $open {zero} {zero} {zero} {zero} {zero} (i64.const 0) (i64.const 0) {zero} {zero}))
                (i32.and
                    (i32.and
                        (i32.eq (i32.const 0) (call $sync (i32.const 1)))
                        (i32.eq (i32.const 8) (call $sync (i32.const 3))))
                    (i32.eq (i32.const 58) (call $shutdown {zero} {zero})))))"#
    );
    Harness::builder(&running(imports, &configure)).start().unwrap();
}

#[test]
fn memory_is_capped_at_a_gibibyte() {
    // 16384 pages are the cap: growing to it works, beyond it does not.
    let grows = r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
        (i32.and
            (i32.eq (i32.const 1) (memory.grow (i32.const 16383)))
            (i32.eq (i32.const -1) (memory.grow (i32.const 1)))))"#;
    Harness::builder(&running("", grows)).start().unwrap();
}

#[test]
fn pointers_beyond_the_memory_are_an_error_not_a_trap() {
    let imports = r#"(import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))"#;
    let configure = r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
        (i32.and
            (i32.eq (i32.const 6) (call $log (i32.const 2) (i32.const -1) (i32.const 5)))
            (i32.eq (i32.const 2) (call $log (i32.const 9) (i32.const 0) (i32.const 0)))))"#;
    Harness::builder(&running(imports, configure)).start().unwrap();
}
