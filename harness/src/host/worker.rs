//! One VM and its life: start, configuration, calls into it, death.

use std::{fmt, mem, sync::Arc};

use wasmtime::{Error, Store, WasmParams, WasmResults};

use super::{
    abi::Level,
    event::{Event, GrpcCallResult, HttpCallResult, StreamId},
    exports::{Callback, Exports},
    module::Module,
    plugin::{Environment, Plugin},
    state::HostState,
    stream::Stream,
    value::Value,
};

/// A plugin in a VM of its own, as each worker thread of Envoy has it.
///
/// Feed it with what arrives ([`Worker::request_headers`], [`Worker::http_call_done`], [`Worker::tick`]) and do what it
/// says ([`Worker::take_events`]). A worker can move between threads, and workers share nothing but the
/// [`Environment`].
pub struct Worker {
    pub(super) store: Store<HostState>,
    pub(super) exports: Exports,
    metered: bool,
    beats: Option<u64>,
    /// Why the VM died.
    failure: Option<String>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("vm", &self.state().vm)
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}

/// Why a plugin does not come up. Envoy refuses the configuration then.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot create an instance: {0:#}")]
    Instance(Error),
    #[error("the module failed while starting: {0}")]
    Trap(String),
    #[error("`proxy_on_vm_start` refused")]
    VmStart,
    #[error("`proxy_on_configure` refused the configuration")]
    Configure,
}

/// How a call into the module ended.
pub(super) enum Called<R> {
    /// The module does not export this callback, or the VM was dead before.
    Absent,
    /// The VM died in it.
    Failed,
    Returned(R),
}

/// WebAssembly status codes of `proxy_get_status` after a reset (`WasmResult::BrokenConnection`).
const BROKEN_CONNECTION: u32 = 11;

impl Worker {
    /// Instantiates, initialises and configures. `vm` names the worker to [`super::Outside`] and in queues.
    pub fn start(
        module: &Module,
        plugin: Arc<Plugin>,
        environment: Environment,
        vm: u32,
    ) -> Result<Self, StartError> {
        let mut store =
            Store::new(module.instance.module().engine(), HostState::new(vm, plugin, environment));
        store.limiter(|state| &mut state.limits);
        if module.metered {
            store.set_fuel(u64::MAX).map_err(StartError::Instance)?;
        }
        if let Some(beats) = module.beats {
            store.set_epoch_deadline(beats);
        }
        let instance = module.instance.instantiate(&mut store).map_err(StartError::Instance)?;
        let exports = Exports::of(&instance, &mut store).map_err(StartError::Instance)?;
        let memory = instance.get_memory(&mut store, "memory");
        let allocate = instance
            .get_typed_func(&mut store, "malloc")
            .or_else(|_| instance.get_typed_func(&mut store, "proxy_on_memory_allocate"))
            .map_err(StartError::Instance)?;
        store.data_mut().memory = memory;
        store.data_mut().allocate = Some(allocate);
        let (metered, beats) = (module.metered, module.beats);
        let mut worker = Self { store, exports, metered, beats, failure: None };
        worker.initialize()?;
        worker.configure()?;
        Ok(worker)
    }

    /// `WasmBase::startVm`: a reactor's `_initialize` and `main`, or a command's `_start`.
    fn initialize(&mut self) -> Result<(), StartError> {
        self.state_mut().initializing = true;
        if self.exports.initialize.function.is_some() {
            self.enter(0, self.exports.initialize.clone(), ());
            self.enter(0, self.exports.main.clone(), (0, 0));
        } else {
            self.enter(0, self.exports.start.clone(), ());
        }
        self.state_mut().initializing = false;
        self.started()
    }

    fn configure(&mut self) -> Result<(), StartError> {
        let root = self.state_mut().allocate_context();
        self.state_mut().root.id = root;
        let plugin = Arc::clone(&self.state().plugin);
        self.enter(root, self.exports.on_context_create.clone(), (root, 0));
        let started =
            self.enter(root, self.exports.on_vm_start.clone(), (root, size(&plugin.vm_configuration)));
        self.settle();
        self.started()?;
        if matches!(started, Called::Returned(0)) {
            return Err(StartError::VmStart);
        }
        self.state_mut().root.configuring = true;
        let configured =
            self.enter(root, self.exports.on_configure.clone(), (root, size(&plugin.configuration)));
        self.state_mut().root.configuring = false;
        self.settle();
        self.started()?;
        if matches!(configured, Called::Returned(0)) { Err(StartError::Configure) } else { Ok(()) }
    }

    fn started(&self) -> Result<(), StartError> {
        self.failure.clone().map_or(Ok(()), |failure| Err(StartError::Trap(failure)))
    }

    /// Why the VM died, if it did. A dead worker answers new requests with 503 and drops everything else.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Something that would end or confuse the whole Envoy process, not only this VM.
    pub fn fatal(&self) -> Option<&str> {
        self.state().fatal.as_deref()
    }

    /// Bytes of linear memory. It never shrinks.
    pub fn memory_size(&self) -> usize {
        self.state().memory.map_or(0, |memory| memory.data_size(&self.store))
    }

    /// WebAssembly instructions since the start; 0 unless the module was loaded metered.
    pub fn instructions(&self) -> u64 {
        if self.metered { self.store.get_fuel().map_or(0, |left| u64::MAX.saturating_sub(left)) } else { 0 }
    }

    /// What has happened since the last time, in order.
    pub fn take_events(&mut self) -> Vec<Event> {
        mem::take(&mut self.state_mut().events)
    }

    /// A new stream. `attributes` are the ones that the embedder knows, a [`Value::Map`] of `source`, `connection`,
    /// `xds`, `metadata` and so on; what follows from the messages is added here.
    pub fn open_stream(&mut self, attributes: Value) -> StreamId {
        let state = self.state_mut();
        let id = state.allocate_context();
        let started = state.environment.outside.wall_clock();
        state.streams.insert(id, Stream::new(attributes, started));
        id
    }

    /// What modules have left for a stream under a filter state's name, such as `wasm.enforcer`.
    pub fn filter_state(&self, stream: StreamId, name: &str) -> Option<&[u8]> {
        let state = &self.state().streams.get(&stream)?.filter_state;
        state.get(name.as_bytes()).map(Vec::as_slice)
    }

    /// The tick that [`Event::TickPeriod`] asked for.
    pub fn tick(&mut self) {
        let root = self.state().root.id;
        self.enter(root, self.exports.on_tick.clone(), root);
        self.settle();
    }

    /// The configuration is about to go: what the module still wants to tell anybody, it does now. The answers to calls that
    /// it makes should still reach it.
    pub fn shut_down(&mut self) {
        let root = self.state().root.id;
        self.enter(root, self.exports.on_done.clone(), root);
        self.settle();
    }

    /// A queue that this worker owns has an item.
    pub fn queue_ready(&mut self, queue: u32) {
        let root = self.state().root.id;
        self.enter(root, self.exports.on_queue_ready.clone(), (root, queue));
        self.settle();
    }

    /// The answer to [`Event::HttpCall`]. Told to the root context, whether or not the stream that asked still exists.
    pub fn http_call_done(&mut self, token: u32, result: HttpCallResult) {
        let root = &mut self.state_mut().root;
        if !root.http_calls.open.remove(&token) {
            return;
        }
        let (mut headers, mut body, mut trailers) = (0, 0, 0);
        match result {
            HttpCallResult::Reset => root.status = (BROKEN_CONNECTION, "reset".to_owned()),
            HttpCallResult::Response(response) => {
                headers = count(response.headers.len());
                body = size(&response.body);
                trailers = count(response.trailers.len());
                root.http_response = Some(response);
            }
        }
        let id = root.id;
        self.enter(id, self.exports.on_http_call_response.clone(), (id, token, headers, body, trailers));
        let root = &mut self.state_mut().root;
        root.http_response = None;
        root.status.1.clear();
        self.settle();
    }

    /// The answer to [`Event::GrpcCall`].
    pub fn grpc_call_done(&mut self, token: u32, result: GrpcCallResult) {
        let root = &mut self.state_mut().root;
        if !root.grpc_calls.open.remove(&token) {
            return;
        }
        let id = root.id;
        match result {
            GrpcCallResult::Message(message) => {
                let len = size(&message);
                root.grpc_message = Some(message);
                self.enter(id, self.exports.on_grpc_receive.clone(), (id, token, len));
            }
            GrpcCallResult::Failed { status, message } => {
                root.status = (status, message);
                self.enter(id, self.exports.on_grpc_close.clone(), (id, token, status));
            }
        }
        let root = &mut self.state_mut().root;
        root.grpc_message = None;
        root.status.1.clear();
        self.settle();
    }

    pub(super) fn state(&self) -> &HostState {
        self.store.data()
    }

    pub(super) fn state_mut(&mut self) -> &mut HostState {
        self.store.data_mut()
    }

    /// Calls into the module with a context as the current one. A trap ends the VM.
    pub(super) fn enter<P: WasmParams, R: WasmResults>(
        &mut self,
        context: u32,
        callback: Callback<P, R>,
        parameters: P,
    ) -> Called<R> {
        let Some(function) = callback.function.filter(|_| self.failure.is_none()) else {
            return Called::Absent;
        };
        let before = self.instructions();
        self.state_mut().current = context;
        self.state_mut().effective = 0;
        if let Some(beats) = self.beats {
            self.store.set_epoch_deadline(beats);
        }
        let result = function.call(&mut self.store, parameters);
        let spent = self.instructions().saturating_sub(before);
        let state = self.state_mut();
        if let Some(stream) = state.stream_mut() {
            stream.instructions = stream.instructions.saturating_add(spent);
        }
        state.current = 0;
        state.effective = 0;
        match result {
            Ok(returned) => Called::Returned(returned),
            Err(error) => {
                self.fail(callback.name, &error);
                Called::Failed
            }
        }
    }

    fn fail(&mut self, callback: &str, error: &Error) {
        let reason = format!("function `{callback}` failed: {error:#}");
        let state = self.state();
        state.environment.outside.log(state.vm, Level::Error, &reason);
        self.failure = Some(reason);
    }
}

pub(super) fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

pub(super) fn size(bytes: &[u8]) -> u32 {
    count(bytes.len())
}
