//! `ratelimit.wasm`: the rate limit filter alone.

#[cfg(target_os = "wasi")]
proxy_wasm::main! {{
    enforcer_proxy::register::<enforcer_ratelimit::RateLimit>();
}}
