//! The gRPC service: one call of Envoy's for each request of a client.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use envoy_types::pb::envoy::service::ext_proc::v3::{
    ProcessingRequest, ProcessingResponse, external_processor_server::ExternalProcessor,
};
use tokio::{
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tokio_stream::Stream;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::{
    generation::Generation,
    lane::{News, Opening},
    message,
    order::{Bodies, Order},
    process::{Process, Tally},
};

/// `:authority` of a call, put there by the server before tonic drops it.
#[derive(Debug, Clone)]
pub(crate) struct Authority(pub(crate) String);

/// Messages to Envoy that may wait. Envoy reads them as they come: more wait only if it does not read at all.
const WAITING: usize = 64;

/// Messages of one call that may wait for its worker: the rest stays in the connection, which slows Envoy down.
const UNREAD: usize = 8;

#[derive(Debug)]
pub(crate) struct Service {
    process: Arc<Process>,
    turn: AtomicUsize,
}

impl Service {
    pub(crate) fn new(process: Arc<Process>) -> Self {
        Self { process, turn: AtomicUsize::new(0) }
    }

    fn next_lane(&self) -> Option<&mpsc::Sender<News>> {
        let lanes = self.process.lanes.get()?;
        lanes.get(self.turn.fetch_add(1, Relaxed).checked_rem(lanes.len())?)
    }
}

#[tonic::async_trait]
impl ExternalProcessor for Service {
    type ProcessStream = Said;

    async fn process(
        &self,
        request: Request<Streaming<ProcessingRequest>>,
    ) -> Result<Response<Said>, Status> {
        let authority = request.extensions().get::<Authority>().cloned();
        let lane = self.next_lane().ok_or_else(|| Status::unavailable("no worker runs"))?.clone();
        let (answers, said) = answers();
        let call = Call {
            number: self.process.next_exchange(),
            process: Arc::clone(&self.process),
            generation: self.process.current(),
            authority: authority.map(|Authority(name)| name).unwrap_or_default(),
            lane,
            answers,
        };
        tokio::spawn(call.listen(request.into_inner()));
        Ok(Response::new(said))
    }
}

/// What comes in of one call.
struct Call {
    number: u64,
    process: Arc<Process>,
    generation: Arc<Generation>,
    authority: String,
    lane: mpsc::Sender<News>,
    answers: Answers,
}

impl Call {
    async fn listen(self, mut messages: Streaming<ProcessingRequest>) {
        let mut opened = false;
        match self.take_all(&mut messages, &mut opened).await {
            Ok(()) => {}
            Err(status) => {
                if status.code() != Code::Cancelled {
                    Tally::count(&self.process.tally.refused);
                }
                self.answers.fail(status);
            }
        }
        // A worker that has ended needs no telling: the call fails with the last sender.
        if opened {
            let _ = self.lane.send(News::Closed(self.number)).await;
        } else {
            self.answers.end();
        }
    }

    /// Until Envoy has closed its side. Everything else is an error, as Envoy takes a call that ends without one for leave
    /// to let the request pass.
    async fn take_all(
        &self,
        messages: &mut Streaming<ProcessingRequest>,
        opened: &mut bool,
    ) -> Result<(), Status> {
        let mut order = Order::default();
        let room = Arc::new(Semaphore::new(UNREAD));
        let silence = self.generation.limits.silence.duration();
        loop {
            let message = match timeout(silence, messages.message()).await {
                Ok(Ok(Some(message))) => message,
                Ok(Ok(None)) => return Ok(()),
                // Too large a message among others.
                Ok(Err(status)) => return Err(status),
                Err(_) => return Err(Status::deadline_exceeded("nothing has come for too long")),
            };
            if !*opened {
                let opening = self.open(&message)?;
                let sent = self.lane.send(News::Open(Box::new(opening))).await;
                sent.map_err(|_| gone())?;
                *opened = true;
            }
            let piece = message::piece(message.request);
            let (side, frame) = piece.ok_or_else(|| Status::invalid_argument("a message has no content"))?;
            if !order.allows(side, &frame) {
                return Err(Status::invalid_argument("a message has come out of order"));
            }
            let permit = Arc::clone(&room).acquire_owned().await;
            let permit = permit.map_err(|_| Status::internal("the call has ended"))?;
            if !self.answers.room().await {
                return Err(Status::cancelled("nobody reads the answers"));
            }
            let sent = self.lane.send(News::Piece(self.number, side, frame, permit)).await;
            sent.map_err(|_| gone())?;
        }
    }

    fn open(&self, message: &ProcessingRequest) -> Result<Opening, Status> {
        if message.observability_mode {
            return Err(Status::failed_precondition(
                "in `observability_mode` nothing can be refused: turn it off",
            ));
        }
        let modes = message.protocol_config.unwrap_or_default();
        let bodies = |mode| {
            Bodies::from_wire(mode).ok_or_else(|| {
                Status::failed_precondition(
                    "bodies come in a mode that is not supported: use NONE or FULL_DUPLEX_STREAMED",
                )
            })
        };
        let modes = (bodies(modes.request_body_mode)?, bodies(modes.response_body_mode)?);
        let route = message::route(&message.attributes);
        let filter = self.generation.name(&self.authority, route).ok_or_else(|| {
            let route = route.map(|name| format!(" or the route `{name}`")).unwrap_or_default();
            Status::not_found(format!("no filter is configured for `{}`{route}", self.authority))
        })?;
        Tally::count(&self.process.tally.requests);
        Ok(Opening {
            exchange: self.number,
            filter: filter.to_owned(),
            attributes: message::attributes(&message.attributes, message.metadata_context.as_ref()),
            modes,
            answers: self.answers.clone(),
        })
    }
}

fn gone() -> Status {
    Status::unavailable("the worker has gone")
}

/// What is said to Envoy.
#[derive(Debug)]
enum Word {
    Message(Box<ProcessingResponse>),
    /// Envoy has closed its side, and all is said.
    End,
    Failed(Status),
}

/// Where answers to one call go.
#[derive(Debug, Clone)]
pub(crate) struct Answers {
    words: mpsc::Sender<Word>,
    /// Whatever is said afterwards, the call does not end well.
    failed: Arc<AtomicBool>,
}

/// The answers as Envoy gets them.
///
/// A call that ends without an error means to Envoy that the request needs no more processing, and passes. So none
/// does unless Envoy has closed its side first: when whoever answers is gone, the call fails.
#[derive(Debug)]
pub(crate) struct Said {
    words: mpsc::Receiver<Word>,
    over: bool,
}

fn answers() -> (Answers, Said) {
    let (sender, words) = mpsc::channel(WAITING);
    (Answers { words: sender, failed: Arc::default() }, Said { words, over: false })
}

impl Answers {
    /// False if Envoy reads nothing, or has gone.
    pub(crate) fn say(&self, message: ProcessingResponse) -> bool {
        self.words.try_send(Word::Message(Box::new(message))).is_ok()
    }

    /// If there is no room for it, the call fails all the same, when the last sender is dropped.
    pub(crate) fn fail(&self, status: Status) {
        self.failed.store(true, Relaxed);
        let _ = self.words.try_send(Word::Failed(status));
    }

    /// Ends the call well, unless it has failed. Only when Envoy has closed its side.
    pub(crate) fn end(&self) {
        if !self.failed.load(Relaxed) {
            let _ = self.words.try_send(Word::End);
        }
    }

    /// Waits until there is room for what may come of another message. False if Envoy has gone.
    async fn room(&self) -> bool {
        self.words.reserve_many(WAITING / 2).await.is_ok()
    }
}

impl Stream for Said {
    type Item = Result<ProcessingResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        self.words.poll_recv(context).map(|word| match word {
            Some(Word::Message(message)) => Some(Ok(*message)),
            word => {
                self.over = true;
                match word {
                    Some(Word::End) => None,
                    Some(Word::Failed(status)) => Some(Err(status)),
                    _ => Some(Err(gone())),
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn a_call_never_ends_well_by_itself() {
        let (sender, mut said) = answers();
        assert!(sender.say(ProcessingResponse::default()));
        drop(sender);
        assert!(said.next().await.unwrap().is_ok());
        assert_eq!(said.next().await.unwrap().unwrap_err().code(), tonic::Code::Unavailable);
        assert!(said.next().await.is_none());
    }

    #[tokio::test]
    async fn it_ends_well_when_all_is_said() {
        let (sender, mut said) = answers();
        sender.end();
        assert!(said.next().await.is_none());
    }

    #[tokio::test]
    async fn what_has_failed_does_not_end_well() {
        let (sender, mut said) = answers();
        while sender.say(ProcessingResponse::default()) {}
        sender.fail(Status::invalid_argument("there is no room for this"));
        for _ in 0..WAITING {
            assert!(said.next().await.unwrap().is_ok());
        }
        sender.end();
        drop(sender);
        assert!(said.next().await.unwrap().is_err());
    }

    #[tokio::test]
    async fn who_does_not_read_is_cut_off() {
        let (sender, said) = answers();
        let told = (0..100).take_while(|_| sender.say(ProcessingResponse::default())).count();
        assert_eq!(told, WAITING);
        sender.end();
        drop(sender);
        let last = said.collect::<Vec<_>>().await.pop().unwrap();
        assert!(last.is_err(), "what was not told is not passed over");
    }
}
