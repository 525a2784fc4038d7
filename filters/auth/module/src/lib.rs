//! `auth.wasm`: the auth filter alone.

#[cfg(target_os = "wasi")]
proxy_wasm::main! {{
    enforcer_proxy::register::<enforcer_auth::Auth>();
}}
