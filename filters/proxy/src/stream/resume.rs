//! The end of a wait: what was paused goes on, and what came meanwhile is caught up with.

use std::{cell::RefCell, rc::Rc};

use enforcer_core::{
    cx::{CalloutError, CalloutReply},
    filter::{Event, Filter},
};

use super::{Awaited, Flow, Stream, Wait, complete};
use crate::{
    hostcalls::{self, Direction},
    worker::{Call, Worker},
};

impl<F: Filter> Stream<F> {
    /// One of the request's own calls is answered.
    pub(crate) fn answered(
        this: &Rc<RefCell<Self>>,
        worker: &Rc<Worker<F>>,
        call: Call,
        answer: Result<CalloutReply, CalloutError>,
    ) {
        let mut stream = this.borrow_mut();
        if call.round != stream.round {
            return;
        }
        let Some(Wait { on: Awaited::Calls { answers, until }, .. }) = &mut stream.wait else { return };
        if let Some(slot) = answers.get_mut(call.index) {
            *slot = Some(answer);
        }
        if !complete(answers, *until) {
            return;
        }
        let answers = std::mem::take(answers);
        drop(stream);
        Self::resume(this, worker, Event::Callouts(&answers));
    }

    /// Ends the wait and goes on where the request was paused.
    pub(crate) fn resume(this: &Rc<RefCell<Self>>, worker: &Rc<Worker<F>>, event: Event<'_>) {
        let mut stream = this.borrow_mut();
        let Some(Wait { direction, .. }) = stream.wait.take() else { return };
        stream.direction = direction;
        let side = stream.side(direction);
        side.held = false;
        side.replays = side.size == 0 && !side.ended;
        let context_id = stream.context_id;
        drop(stream);
        if hostcalls::set_effective_context(context_id).is_err() {
            return;
        }
        if Self::drive(this, worker, event) == Flow::Continue {
            Self::release(this, worker, direction);
        }
        Self::release_other(this, worker, direction);
        let _ = hostcalls::set_effective_context(worker.root_id());
    }

    /// Lets a direction go on that the filter has already let go.
    pub(crate) fn continue_now(&self, worker: &Worker<F>, direction: Direction) {
        if hostcalls::set_effective_context(self.context_id).is_ok() {
            let _ = hostcalls::continue_stream(direction);
            let _ = hostcalls::set_effective_context(worker.root_id());
        }
    }

    /// Lets a paused direction go on, unless the filter wants to keep what has arrived meanwhile.
    pub(super) fn release(this: &Rc<RefCell<Self>>, worker: &Rc<Worker<F>>, direction: Direction) {
        if Self::catch_up(this, worker, direction) == Flow::Continue {
            // Only ever for what is paused: continuing anything else makes Envoy send it twice, or die. A stream
            // that has ended meanwhile does not mind.
            let _ = hostcalls::continue_stream(direction);
        }
    }

    /// What came in the other direction was held too, because the filter could not be told.
    pub(super) fn release_other(this: &Rc<RefCell<Self>>, worker: &Rc<Worker<F>>, direction: Direction) {
        let other = match direction {
            Direction::Request => Direction::Response,
            Direction::Response => Direction::Request,
        };
        let mut stream = this.borrow_mut();
        let moot = stream.wait.is_some() || stream.answered.is_some();
        let side = stream.side(other);
        if moot || side.given_up || !std::mem::take(&mut side.held) {
            return;
        }
        drop(stream);
        Self::release(this, worker, other);
    }

    /// A body that arrived while the headers were held has been kept back; the filter may want it now.
    pub(super) fn catch_up(this: &Rc<RefCell<Self>>, worker: &Rc<Worker<F>>, direction: Direction) -> Flow {
        let mut stream = this.borrow_mut();
        let side = stream.side(direction);
        let (size, end, trailers) = (side.size, side.ended, side.trailers);
        drop(stream);
        if size == 0 && !trailers {
            return Flow::Continue;
        }
        let flow = Self::on_body(this, worker, direction, size, end && !trailers);
        let stream = this.borrow();
        if !trailers || stream.wait.is_some() || stream.answered.is_some() {
            // What buffers the rest is released by its last piece.
            return flow;
        }
        drop(stream);
        Self::finish(this, worker, direction)
    }
}
