//! The harness' host behind Envoy's `ext_proc` filter, as far as the tiny filters need it.
//!
//! Bodies travel in mode `FULL_DUPLEX_STREAMED`: the server may hold, replace and release them as it likes, which is
//! what a proxy-wasm filter expects. One worker, on a thread of its own ([`bridge`]).

mod bridge;
mod translate;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread::{self, JoinHandle},
};

use enforcer_harness::Metrics;
use envoy_types::pb::envoy::service::ext_proc::v3::{
    ProcessingRequest, ProcessingResponse,
    external_processor_server::{ExternalProcessor, ExternalProcessorServer},
};
use serde_json::{Value, json};
use tokio::sync::{mpsc::unbounded_channel, oneshot};
use tokio_stream::{
    Stream,
    wrappers::{TcpListenerStream, UnboundedReceiverStream},
};
use tonic::{Request, Response, Status, Streaming, transport::Server};

use crate::world::Plugin;
use bridge::{Bridge, News};

/// A server that runs one plugin. Stops when it is dropped.
pub(crate) struct Shim {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: Metrics,
    pub(crate) log: Arc<Mutex<Vec<String>>>,
    stop: Option<oneshot::Sender<()>>,
    threads: Vec<JoinHandle<()>>,
    news: mpsc::Sender<News>,
}

impl Shim {
    /// `clusters` is where callouts go.
    pub(crate) fn start(plugin: &Plugin, clusters: BTreeMap<String, SocketAddr>) -> Self {
        let (news, inbox) = mpsc::channel();
        let (metrics, log) = (Metrics::default(), Arc::default());
        let mut bridge = Bridge::start(plugin, clusters, metrics.clone(), Arc::clone(&log), news.clone());
        let worker = thread::spawn(move || bridge.run(&inbox));

        let (stop, stopped) = oneshot::channel();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let processor = Processor { news: news.clone(), exchanges: AtomicU64::new(0) };
        let server = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let incoming = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener).unwrap());
                let service = ExternalProcessorServer::new(processor);
                let serving = Server::builder().add_service(service).serve_with_incoming(incoming);
                // Envoy keeps its connections open: stopping does not wait for them.
                tokio::select! {
                    result = serving => result.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        Self { address, metrics, log, stop: Some(stop), threads: vec![worker, server], news }
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        // A thread that has ended needs no telling.
        let _ = self.news.send(News::Stop);
        drop(self.stop.take());
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Envoy's filter with the cluster `ext_proc`.
pub(crate) fn filter() -> Value {
    json!({
        "name": "envoy.filters.http.ext_proc",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor",
            "grpc_service": { "envoy_grpc": { "cluster_name": "ext_proc" } },
            "processing_mode": {
                "request_header_mode": "SEND",
                "request_body_mode": "FULL_DUPLEX_STREAMED",
                "request_trailer_mode": "SEND",
                "response_header_mode": "SEND",
                "response_body_mode": "FULL_DUPLEX_STREAMED",
                "response_trailer_mode": "SEND",
            },
        },
    })
}

struct Processor {
    news: mpsc::Sender<News>,
    exchanges: AtomicU64,
}

#[tonic::async_trait]
impl ExternalProcessor for Processor {
    type ProcessStream = Pin<Box<dyn Stream<Item = Result<ProcessingResponse, Status>> + Send>>;

    /// One call for each request of a client.
    async fn process(
        &self,
        request: Request<Streaming<ProcessingRequest>>,
    ) -> Result<Response<Self::ProcessStream>, Status> {
        let exchange = self.exchanges.fetch_add(1, Relaxed);
        let (replies, responses) = unbounded_channel();
        let news = self.news.clone();
        let gone = |_| Status::unavailable("the worker has stopped");
        news.send(News::Open(exchange, replies)).map_err(gone)?;
        let mut messages = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(ProcessingRequest { request: Some(message), .. })) = messages.message().await {
                if news.send(News::Message(exchange, message)).is_err() {
                    return;
                }
            }
            let _ = news.send(News::Gone(exchange));
        });
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(responses))))
    }
}
