//! The worker's thread: messages from Envoy in, the host's events out, callouts over a real HTTP client.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use enforcer_harness::{
    HeaderMap, Metrics, Module, Value,
    host::{Event, Frame, GrpcCallResult, HttpCall, HttpCallResult, HttpResponse, StreamId, Worker},
};
use enforcer_testbed::{RawClient, Request};
use envoy_types::pb::envoy::service::ext_proc::v3::{ProcessingResponse, processing_request};
use tokio::sync::mpsc::UnboundedSender;
use tonic::Status;

use super::translate::{self, Piece};
use crate::world::{
    Plugin,
    bare::{self, Outdoors},
};

/// What the thread is told.
pub(super) enum News {
    Open(u64, UnboundedSender<Result<ProcessingResponse, Status>>),
    Message(u64, processing_request::Request),
    /// Envoy has closed the call: the request is over, for whatever reason.
    Gone(u64),
    Answered(u32, HttpCallResult),
    Stop,
}

pub(super) struct Bridge {
    worker: Worker,
    outdoors: Arc<Outdoors>,
    clusters: BTreeMap<String, SocketAddr>,
    news: Sender<News>,
    exchanges: BTreeMap<u64, Exchange>,
    tick_period: Duration,
    last_tick: Instant,
    now: Instant,
}

/// One request.
struct Exchange {
    stream: StreamId,
    replies: UnboundedSender<Result<ProcessingResponse, Status>>,
    /// Headers and trailers as Envoy sent them, since it is told of changes only.
    request: Message,
    response: Message,
    /// The module's own answer, as far as it has come.
    answer: Option<(HeaderMap, Vec<u8>)>,
}

#[derive(Default)]
struct Message {
    headers: Option<HeaderMap>,
    trailers: Option<HeaderMap>,
}

impl Message {
    fn note(&mut self, frame: &Frame) {
        match frame {
            Frame::Headers { headers, .. } => self.headers = Some(headers.clone()),
            Frame::Trailers(trailers) => self.trailers = Some(trailers.clone()),
            Frame::Data { .. } => {}
        }
    }

    /// What the changes in a frame are changes to.
    fn before(&self, frame: &Frame) -> HeaderMap {
        match frame {
            Frame::Trailers(_) => self.trailers.clone(),
            _ => self.headers.clone(),
        }
        .unwrap_or_default()
    }
}

impl Bridge {
    pub(super) fn start(
        plugin: &Plugin,
        clusters: BTreeMap<String, SocketAddr>,
        metrics: Metrics,
        log: Arc<Mutex<Vec<String>>>,
        news: Sender<News>,
    ) -> Self {
        let module = Module::from_file(plugin.file()).unwrap();
        let outdoors = Arc::new(Outdoors::logging_to(log));
        let worker = bare::start_in(&module, plugin, &outdoors, metrics);
        let now = Instant::now();
        Self {
            worker,
            outdoors,
            clusters,
            news,
            exchanges: BTreeMap::new(),
            tick_period: Duration::ZERO,
            last_tick: now,
            now,
        }
    }

    pub(super) fn run(&mut self, inbox: &Receiver<News>) {
        loop {
            self.carry_out();
            let wait = match self.tick_period {
                Duration::ZERO => Duration::from_secs(3600),
                period => period.saturating_sub(self.last_tick.elapsed()),
            };
            let received = inbox.recv_timeout(wait);
            let now = Instant::now();
            self.outdoors.pass(now - self.now);
            self.now = now;
            match received {
                Ok(News::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(news) => self.take(news),
                Err(RecvTimeoutError::Timeout) => {
                    self.last_tick = now;
                    self.worker.tick();
                }
            }
        }
    }

    fn take(&mut self, news: News) {
        match news {
            News::Open(id, replies) => {
                let stream = self.worker.open_stream(Value::Map(Vec::new()));
                let (request, response) = (Message::default(), Message::default());
                self.exchanges.insert(id, Exchange { stream, replies, request, response, answer: None });
            }
            News::Message(id, message) => {
                if let (Some(exchange), Some(piece)) =
                    (self.exchanges.get_mut(&id), translate::piece(message))
                {
                    let stream = exchange.stream;
                    match piece {
                        Piece::OfRequest(frame) => {
                            exchange.request.note(&frame);
                            of_request(&mut self.worker, stream, frame);
                        }
                        Piece::OfResponse(frame) => {
                            exchange.response.note(&frame);
                            of_response(&mut self.worker, stream, frame);
                        }
                    }
                }
            }
            News::Gone(id) => {
                if let Some(exchange) = self.exchanges.remove(&id) {
                    self.worker.client_gone(exchange.stream);
                }
            }
            News::Answered(token, result) => self.worker.http_call_done(token, result),
            News::Stop => {}
        }
    }

    /// Does what the module asked for.
    fn carry_out(&mut self) {
        loop {
            let events = self.worker.take_events();
            if events.is_empty() {
                return;
            }
            for event in events {
                match event {
                    Event::ToUpstream(stream, frame) => self.reply(stream, |exchange| {
                        let before = exchange.request.before(&frame);
                        Some(Ok(translate::of_request(frame, &before)))
                    }),
                    Event::ToClient(stream, frame) => {
                        self.reply(stream, |exchange| exchange.answer_client(frame))
                    }
                    Event::ResetClient(stream) => {
                        self.reply(stream, |_| Some(Err(Status::aborted("the module has cut the stream"))));
                    }
                    Event::Ended(stream, ended) => self.reply(stream, |exchange| {
                        let (headers, body) = exchange.answer.take()?;
                        Some(Ok(translate::immediate(&headers, body, ended.details)))
                    }),
                    Event::HttpCall(call) => self.call(&call),
                    Event::GrpcCall(call) => {
                        let message = "this bridge makes no gRPC calls".to_owned();
                        self.worker
                            .grpc_call_done(call.token, GrpcCallResult::Failed { status: 14, message });
                    }
                    Event::TickPeriod(period) => {
                        (self.tick_period, self.last_tick) = (period, Instant::now())
                    }
                    Event::CancelGrpcCall { .. } | Event::QueueReady { .. } => {}
                }
            }
        }
    }

    fn reply(
        &mut self,
        stream: StreamId,
        make: impl FnOnce(&mut Exchange) -> Option<Result<ProcessingResponse, Status>>,
    ) {
        let exchange = self.exchanges.values_mut().find(|exchange| exchange.stream == stream);
        if let Some(exchange) = exchange
            && let Some(reply) = make(exchange)
        {
            // Envoy may have gone meanwhile.
            let _ = exchange.replies.send(reply);
        }
    }

    /// Sends a callout on a thread of its own. What Envoy answers in an upstream's place is answered here.
    fn call(&self, call: &HttpCall) {
        let text = |name| call.headers.text(name).unwrap_or_default();
        let request = Request::new(text(":method"), text(":path")).header("host", text(":authority"));
        let (token, news) = (call.token, self.news.clone());
        let timeout = call.timeout.unwrap_or(Duration::MAX);
        let client =
            self.clusters.get(&call.cluster).map(|address| RawClient::new(*address).timeout(timeout));
        thread::spawn(move || {
            let answer = client.map(|client| client.send(&request));
            let (status, body) = match answer {
                Some(Ok(answer)) => (answer.status, answer.body),
                Some(Err(error)) if error.is_timeout() => (504, Vec::new()),
                _ => (503, Vec::new()),
            };
            let headers = HeaderMap::from_iter([(":status", status.to_string())]);
            let response = HttpResponse { headers, body, trailers: HeaderMap::new() };
            let _ = news.send(News::Answered(token, HttpCallResult::Response(response)));
        });
    }
}

impl Exchange {
    /// A piece of the backend's response, or of the module's own answer.
    fn answer_client(&mut self, frame: Frame) -> Option<Result<ProcessingResponse, Status>> {
        if self.response.headers.is_some() {
            let before = self.response.before(&frame);
            return Some(Ok(translate::of_response(frame, &before)));
        }
        let (headers, body) = self.answer.get_or_insert_default();
        match frame {
            Frame::Headers { headers: all, .. } => *headers = all,
            Frame::Data { data, .. } => body.extend(data),
            Frame::Trailers(_) => {}
        }
        None
    }
}

fn of_request(worker: &mut Worker, stream: StreamId, frame: Frame) {
    match frame {
        Frame::Headers { headers, end_of_stream } => worker.request_headers(stream, headers, end_of_stream),
        Frame::Data { data, end_of_stream } => worker.request_data(stream, data, end_of_stream),
        Frame::Trailers(trailers) => worker.request_trailers(stream, trailers),
    }
}

fn of_response(worker: &mut Worker, stream: StreamId, frame: Frame) {
    match frame {
        Frame::Headers { headers, end_of_stream } => worker.response_headers(stream, headers, end_of_stream),
        Frame::Data { data, end_of_stream } => worker.response_data(stream, data, end_of_stream),
        Frame::Trailers(trailers) => worker.response_trailers(stream, trailers),
    }
}
