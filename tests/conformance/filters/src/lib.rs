//! Tiny filters, one for each thing that a host must get right before a product can stand on it: streaming,
//! replacing a body, sharing a fetch, calling others. Chosen by `root_id`.
#![cfg(target_os = "wasi")]

mod caller;
mod counter;
mod replace;
mod shared_fetch;

use enforcer_core::chain::Chain;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|context_id| match enforcer_proxy::root_id().as_str() {
        "caller" => enforcer_proxy::root::<caller::Caller>(context_id),
        "replace" => enforcer_proxy::root::<replace::Replace>(context_id),
        // Two as one filter: the configurations in order.
        "chain" => enforcer_proxy::root::<Chain<replace::Replace, counter::Counter>>(context_id),
        "wait-then-replace" => {
            enforcer_proxy::root::<Chain<shared_fetch::SharedFetch, replace::Replace>>(context_id)
        }
        "shared-fetch" => enforcer_proxy::root::<shared_fetch::SharedFetch>(context_id),
        _ => enforcer_proxy::root::<counter::Counter>(context_id),
    });
}}
