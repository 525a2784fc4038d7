//! `bundle.wasm`: all filters, chosen by `root_id`: `enforcer` is several as one, the others are one each.

#[cfg(target_os = "wasi")]
proxy_wasm::main! {{
    use enforcer_core::filter::Filter;
    use enforcer_proxy::root;

    proxy_wasm::set_root_context(|context_id| match enforcer_proxy::root_id().as_str() {
        enforcer_analytics::Analytics::NAME => root::<enforcer_analytics::Analytics>(context_id),
        enforcer_auth::Auth::NAME => root::<enforcer_auth::Auth>(context_id),
        enforcer_ratelimit::RateLimit::NAME => root::<enforcer_ratelimit::RateLimit>(context_id),
        _ => root::<enforcer_bundle::Bundle>(context_id),
    });
}}
