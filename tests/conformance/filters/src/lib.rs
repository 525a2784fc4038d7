//! Three tiny filters, one for each thing that a host must get right before a product can stand on it:
//! streaming, replacing a body, and sharing a fetch. Chosen by `root_id`.

mod counter;
mod replace;
mod shared_fetch;

#[cfg(target_os = "wasi")]
proxy_wasm::main! {{
    proxy_wasm::set_root_context(|context_id| match enforcer_proxy::root_id().as_str() {
        "replace" => enforcer_proxy::root::<replace::Replace>(context_id),
        "shared-fetch" => enforcer_proxy::root::<shared_fetch::SharedFetch>(context_id),
        _ => enforcer_proxy::root::<counter::Counter>(context_id),
    });
}}
