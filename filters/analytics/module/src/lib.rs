//! `analytics.wasm`: the analytics filter alone.

#[cfg(target_os = "wasi")]
proxy_wasm::main! {{
    enforcer_proxy::register::<enforcer_analytics::Analytics>();
}}
