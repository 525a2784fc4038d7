//! The contexts that the SDK's dispatcher calls. Nothing is decided here.

use std::{cell::RefCell, rc::Rc};

use enforcer_core::{
    config,
    filter::{Capabilities, Filter},
    host::{Host, Level},
    identity,
};
use proxy_wasm::{
    traits::{Context, HttpContext, RootContext},
    types::{Action, ContextType},
};

use crate::{
    foreign,
    host::EnvoyHost,
    hostcalls::{self, Buffer, Direction},
    stream::{Flow, Stream},
    worker::Worker,
};

/// Makes the module one filter, whatever root_id Envoy's configuration gives it.
pub fn register<F: Filter>() {
    proxy_wasm::set_root_context(root::<F>);
}

/// The root context of one filter, for modules that hold several and choose by [`root_id`].
pub fn root<F: Filter>(context_id: u32) -> Box<dyn RootContext> {
    Box::new(Root::<F> { context_id, worker: None })
}

/// The `root_id` of the plugin that is being created.
pub fn root_id() -> String {
    let id = hostcalls::property(&["plugin_root_id"]).unwrap_or_default();
    String::from_utf8(id).unwrap_or_default()
}

/// One plugin configuration on one worker.
struct Root<F: Filter> {
    context_id: u32,
    worker: Option<Rc<Worker<F>>>,
}

impl<F: Filter> Root<F> {
    /// Builds the filter, or says where the configuration is wrong.
    fn configure(&self, size: usize) -> Result<F, config::ConfigError> {
        let json = if size == 0 {
            Vec::new()
        } else {
            hostcalls::buffer(Buffer::PluginConfiguration, size).unwrap_or_default()
        };
        let capabilities =
            Capabilities { verify_signature: foreign::can_verify(), sign: foreign::can_sign() };
        F::new(config::parse(&json)?, capabilities)
    }
}

impl<F: Filter> RootContext for Root<F> {
    fn on_configure(&mut self, size: usize) -> bool {
        match self.configure(size) {
            Ok(filter) => {
                foreign::keep_for_request(identity::PROPERTY);
                self.worker = Some(Rc::new(Worker::new(self.context_id, filter)));
                true
            }
            // Envoy refuses this configuration and keeps the one it has.
            Err(error) => {
                EnvoyHost::default().log(Level::Error, format_args!("{}: configuration: {error}", F::NAME));
                false
            }
        }
    }

    fn on_tick(&mut self) {
        if let Some(worker) = &self.worker {
            worker.on_tick();
        }
    }

    fn create_http_context(&self, context_id: u32) -> Option<Box<dyn HttpContext>> {
        let stream = Rc::new(RefCell::new(Stream::new(context_id)));
        // Without a worker the configuration was refused, and Envoy sends no requests.
        Some(Box::new(Http { worker: self.worker.clone()?, stream }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl<F: Filter> Context for Root<F> {
    fn on_http_call_response(&mut self, token: u32, headers: usize, body_size: usize, _trailers: usize) {
        if let Some(worker) = &self.worker {
            worker.on_http_answer(token, headers, body_size);
        }
    }

    fn on_grpc_call_response(&mut self, token: u32, status: u32, size: usize) {
        if let Some(worker) = &self.worker {
            worker.on_grpc_answer(token, status, size);
        }
    }

    fn on_done(&mut self) -> bool {
        self.worker.as_ref().is_none_or(|worker| worker.drain())
    }
}

/// One request.
struct Http<F: Filter> {
    worker: Rc<Worker<F>>,
    stream: Rc<RefCell<Stream<F>>>,
}

impl<F: Filter> Context for Http<F> {
    fn on_http_call_response(&mut self, token: u32, headers: usize, body_size: usize, _trailers: usize) {
        self.worker.on_http_answer(token, headers, body_size);
    }

    fn on_grpc_call_response(&mut self, token: u32, status: u32, size: usize) {
        self.worker.on_grpc_answer(token, status, size);
    }
}

impl<F: Filter> HttpContext for Http<F> {
    fn on_http_request_headers(&mut self, _count: usize, end: bool) -> Action {
        action(Stream::on_request_headers(&self.stream, &self.worker, end))
    }

    fn on_http_request_body(&mut self, size: usize, end: bool) -> Action {
        action(Stream::on_body(&self.stream, &self.worker, Direction::Request, size, end))
    }

    fn on_http_request_trailers(&mut self, _count: usize) -> Action {
        action(Stream::on_trailers(&self.stream, &self.worker, Direction::Request))
    }

    fn on_http_response_headers(&mut self, _count: usize, end: bool) -> Action {
        action(Stream::on_response_headers(&self.stream, &self.worker, end))
    }

    fn on_http_response_body(&mut self, size: usize, end: bool) -> Action {
        action(Stream::on_body(&self.stream, &self.worker, Direction::Response, size, end))
    }

    fn on_http_response_trailers(&mut self, _count: usize) -> Action {
        action(Stream::on_trailers(&self.stream, &self.worker, Direction::Response))
    }

    fn on_log(&mut self) {
        self.worker.log(&self.stream);
    }
}

fn action(flow: Flow) -> Action {
    match flow {
        Flow::Continue => Action::Continue,
        Flow::Pause => Action::Pause,
    }
}
