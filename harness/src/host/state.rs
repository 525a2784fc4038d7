//! What host calls read and write: the state of one VM.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use wasmtime::{Memory, StoreLimits, StoreLimitsBuilder, TypedFunc};

use super::{
    abi::{BufferType, Side},
    event::{Event, HttpResponse, StreamId},
    headers::HeaderMap,
    metrics::MetricIds,
    plugin::{Environment, Plugin},
    reply::LocalReply,
    stream::Stream,
};

pub(crate) struct HostState {
    /// The embedder's number for this VM: names it in logs and queues.
    pub(crate) vm: u32,
    pub(crate) plugin: Arc<Plugin>,
    pub(crate) environment: Environment,
    pub(crate) memory: Option<Memory>,
    pub(crate) allocate: Option<TypedFunc<u32, u32>>,
    pub(crate) limits: StoreLimits,

    /// True while `_initialize` runs: most host calls are forbidden then.
    pub(crate) initializing: bool,
    /// The context whose callback runs, and the one that the module chose instead.
    pub(crate) current: u32,
    pub(crate) effective: u32,
    next_context: u32,
    pub(crate) root: Root,
    pub(crate) streams: BTreeMap<StreamId, Stream>,

    /// A local reply was sent: whatever the callback returns, iteration stops.
    pub(crate) stop_iteration: bool,
    /// What must wait until the callback has returned.
    pub(crate) deferred: VecDeque<Deferred>,
    pub(crate) events: Vec<Event>,
    /// The buffer that a context looked at last: Envoy keeps it in the object that `CallData` names.
    pub(crate) last_buffer: Option<(u32, BufferType)>,
    pub(crate) metrics: MetricIds,
    /// Something that would kill or confuse the whole Envoy process; the VM ends with it.
    pub(crate) fatal: Option<String>,
}

/// The root context.
#[derive(Default)]
pub(crate) struct Root {
    pub(crate) id: u32,
    /// The plugin configuration can be read only while `proxy_on_configure` runs.
    pub(crate) configuring: bool,
    pub(crate) http_calls: Calls,
    pub(crate) grpc_calls: Calls,
    pub(crate) http_response: Option<HttpResponse>,
    pub(crate) grpc_message: Option<Vec<u8>>,
    /// What `proxy_get_status` gives.
    pub(crate) status: (u32, String),
}

/// Calls under way. Tokens carry the kind of call in their low bits, as Envoy's do.
#[derive(Default)]
pub(crate) struct Calls {
    made: u32,
    pub(crate) open: BTreeSet<u32>,
}

/// Low bits of a token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallKind {
    Http = 0,
    Grpc = 1,
}

impl CallKind {
    const MASK: u32 = 3;
    const STEP: u32 = 4;

    pub(crate) fn of(token: u32) -> Option<Self> {
        match token & Self::MASK {
            0 => Some(Self::Http),
            1 => Some(Self::Grpc),
            _ => None,
        }
    }
}

impl Calls {
    pub(crate) fn start(&mut self, kind: CallKind) -> u32 {
        self.made = self.made.wrapping_add(1);
        let token = self.made.wrapping_mul(CallKind::STEP) | kind as u32;
        self.open.insert(token);
        token
    }
}

/// What a host call asked for and Envoy does only after the callback (`addAfterVmCallAction`).
pub(crate) enum Deferred {
    Continue(StreamId, Side),
    Reply(StreamId, LocalReply),
    Reset(StreamId),
}

impl HostState {
    pub(crate) fn new(vm: u32, plugin: Arc<Plugin>, environment: Environment) -> Self {
        let limits = StoreLimitsBuilder::new().memory_size(plugin.memory_limit).build();
        Self {
            vm,
            plugin,
            environment,
            memory: None,
            allocate: None,
            limits,
            initializing: false,
            current: 0,
            effective: 0,
            next_context: 0,
            root: Root::default(),
            streams: BTreeMap::new(),
            stop_iteration: false,
            deferred: VecDeque::new(),
            events: Vec::new(),
            last_buffer: None,
            metrics: MetricIds::default(),
            fatal: None,
        }
    }

    /// Context ids are never used twice.
    pub(crate) fn allocate_context(&mut self) -> u32 {
        self.next_context = self.next_context.wrapping_add(1);
        self.next_context
    }

    pub(crate) fn has_context(&self, id: u32) -> bool {
        id == self.root.id || self.streams.contains_key(&id)
    }

    /// The context that a host call acts on: the effective one while it exists, else the running one.
    pub(crate) fn context(&self) -> u32 {
        if self.effective != 0 && self.has_context(self.effective) { self.effective } else { self.current }
    }

    /// The stream that a host call acts on; `None` in the root context.
    pub(crate) fn stream(&self) -> Option<&Stream> {
        self.streams.get(&self.context())
    }

    pub(crate) fn stream_mut(&mut self) -> Option<&mut Stream> {
        self.streams.get_mut(&self.context())
    }

    pub(crate) fn call_response_headers(&self) -> Option<&HeaderMap> {
        self.root.http_response.as_ref().map(|response| &response.headers)
    }

    pub(crate) fn set_tick_period(&mut self, period: Duration) {
        self.events.push(Event::TickPeriod(period));
    }
}
