//! The callbacks that a module exports. All are optional.

use wasmtime::{Error, Instance, Store, TypedFunc, WasmParams, WasmResults};

use super::state::HostState;

/// A callback, if the module has it.
pub(crate) struct Callback<P, R = ()> {
    pub(crate) name: &'static str,
    pub(crate) function: Option<TypedFunc<P, R>>,
}

impl<P, R> Clone for Callback<P, R> {
    fn clone(&self) -> Self {
        Self { name: self.name, function: self.function.clone() }
    }
}

/// Headers: context, count, end of stream. Bodies: context, bytes in hand, end of stream.
type StreamCallback = Callback<(u32, u32, u32), u32>;

pub(crate) struct Exports {
    pub(crate) initialize: Callback<()>,
    pub(crate) start: Callback<()>,
    pub(crate) main: Callback<(u32, u32), u32>,
    pub(crate) on_context_create: Callback<(u32, u32)>,
    pub(crate) on_vm_start: Callback<(u32, u32), u32>,
    pub(crate) on_configure: Callback<(u32, u32), u32>,
    pub(crate) on_tick: Callback<u32>,
    pub(crate) on_request_headers: StreamCallback,
    pub(crate) on_request_body: StreamCallback,
    pub(crate) on_request_trailers: Callback<(u32, u32), u32>,
    pub(crate) on_response_headers: StreamCallback,
    pub(crate) on_response_body: StreamCallback,
    pub(crate) on_response_trailers: Callback<(u32, u32), u32>,
    pub(crate) on_http_call_response: Callback<(u32, u32, u32, u32, u32)>,
    pub(crate) on_grpc_receive: Callback<(u32, u32, u32)>,
    pub(crate) on_grpc_close: Callback<(u32, u32, u32)>,
    pub(crate) on_queue_ready: Callback<(u32, u32)>,
    pub(crate) on_done: Callback<u32, u32>,
    pub(crate) on_log: Callback<u32>,
    pub(crate) on_delete: Callback<u32>,
}

impl Exports {
    /// Finds the callbacks; one of the wrong type is an error.
    pub(crate) fn of(instance: &Instance, store: &mut Store<HostState>) -> Result<Self, Error> {
        Ok(Self {
            initialize: find(instance, store, "_initialize")?,
            start: find(instance, store, "_start")?,
            main: find(instance, store, "main")?,
            on_context_create: find(instance, store, "proxy_on_context_create")?,
            on_vm_start: find(instance, store, "proxy_on_vm_start")?,
            on_configure: find(instance, store, "proxy_on_configure")?,
            on_tick: find(instance, store, "proxy_on_tick")?,
            on_request_headers: find(instance, store, "proxy_on_request_headers")?,
            on_request_body: find(instance, store, "proxy_on_request_body")?,
            on_request_trailers: find(instance, store, "proxy_on_request_trailers")?,
            on_response_headers: find(instance, store, "proxy_on_response_headers")?,
            on_response_body: find(instance, store, "proxy_on_response_body")?,
            on_response_trailers: find(instance, store, "proxy_on_response_trailers")?,
            on_http_call_response: find(instance, store, "proxy_on_http_call_response")?,
            on_grpc_receive: find(instance, store, "proxy_on_grpc_receive")?,
            on_grpc_close: find(instance, store, "proxy_on_grpc_close")?,
            on_queue_ready: find(instance, store, "proxy_on_queue_ready")?,
            on_done: find(instance, store, "proxy_on_done")?,
            on_log: find(instance, store, "proxy_on_log")?,
            on_delete: find(instance, store, "proxy_on_delete")?,
        })
    }
}

fn find<P: WasmParams, R: WasmResults>(
    instance: &Instance,
    store: &mut Store<HostState>,
    name: &'static str,
) -> Result<Callback<P, R>, Error> {
    let function = match instance.get_func(&mut *store, name) {
        Some(function) => {
            Some(function.typed(&*store).map_err(|error| error.context(format!("export `{name}`")))?)
        }
        None => None,
    };
    Ok(Callback { name, function })
}
