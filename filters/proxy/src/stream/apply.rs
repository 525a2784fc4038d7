//! What the filter decided, carried out: edits, answers, cuts.

use std::{cell::RefCell, rc::Rc};

use enforcer_core::{
    cx::{Cx, Wishes},
    edits::{Edits, HeaderEdit},
    fault::{self, Detail, Fault},
    filter::{BodyMode, Filter, Response},
    host::{Host, Level},
    identity::{self, Identity},
};

use super::{Stream, is_buffered};
use crate::{
    hostcalls::{self, Buffer, Direction, Map},
    worker::Worker,
};

impl<F: Filter> Stream<F> {
    pub(super) fn apply(&mut self, worker: &Worker<F>, edits: Edits) {
        if let Some(identity) = &edits.identity {
            publish(identity);
        }
        let (map, buffer) = match self.direction {
            Direction::Request => (Map::RequestHeaders, Buffer::RequestBody),
            Direction::Response => (Map::ResponseHeaders, Buffer::ResponseBody),
        };
        for change in &edits.headers {
            let done = match change {
                HeaderEdit::Remove(name) => hostcalls::remove_header(map, name),
                HeaderEdit::Set(name, value) => hostcalls::set_header(map, name, value),
            };
            self.report(worker, "a header could not be changed", done);
        }
        if let Some(body) = edits.body {
            let size = self.side(self.direction).size;
            self.report(worker, "the body could not be replaced", hostcalls::set_buffer(buffer, size, &body));
        }
        if let Some(next) = edits.next {
            self.next = next;
            self.hide_length();
            if is_buffered(next.request_body) || is_buffered(next.response_body) {
                self.note_upgrade(worker);
            }
        }
    }

    /// Removes `content-length` from a message whose body may be replaced, while its headers can change.
    pub(super) fn hide_length(&mut self) {
        let map = match self.direction {
            Direction::Request => Map::RequestHeaders,
            Direction::Response => Map::ResponseHeaders,
        };
        if matches!(self.mode(self.direction), BodyMode::Rewrite(_)) {
            // Not there, or the headers have gone already: Envoy says which to nobody who could help.
            let _ = hostcalls::remove_header(map, "content-length");
        }
    }

    /// Marks a connection that is upgraded: what follows is no body. Envoy has removed `upgrade` from requests for
    /// which it does not allow one.
    pub(super) fn note_upgrade(&mut self, worker: &Worker<F>) {
        let mut wishes = Wishes::default();
        let cx = Cx::new(&worker.host, &self.messages, &mut wishes);
        let upgraded = match self.direction {
            Direction::Request => {
                let headers = cx.request_headers();
                headers.get("upgrade").is_some() || headers.get(":method") == Some(b"CONNECT")
            }
            // The request's headers can no longer be read.
            Direction::Response => cx.response_headers().get(":status") == Some(b"101"),
        };
        self.request.upgraded |= upgraded;
        self.response.upgraded |= upgraded;
    }

    pub(super) fn report(&self, worker: &Worker<F>, what: &str, done: hostcalls::Result<()>) {
        if let Err(status) = done {
            worker.host.log(Level::Error, format_args!("{}: {what}: {status}", F::NAME));
        }
    }

    /// The body is larger than the filter takes. A response's headers are out already, so it can only be cut.
    pub(super) fn refuse_size(this: &Rc<RefCell<Self>>, worker: &Worker<F>, direction: Direction) {
        const DETAIL: &str = "enforcer_body_too_large";
        match direction {
            Direction::Request => {
                let fault = Fault::new(fault::PAYLOAD_TOO_LARGE, "The body is too large", DETAIL);
                Self::answer(this, fault.respond(fault::Dialect::default()));
            }
            Direction::Response => this.borrow_mut().abort(worker, Detail::new(DETAIL)),
        }
    }

    pub(super) fn abort(&mut self, worker: &Worker<F>, detail: Detail) {
        worker.host.log(Level::Warn, format_args!("{}: stream cut: {detail}", F::NAME));
        self.answered = Some(detail);
        // A stream that has gone needs no cutting.
        let _ = hostcalls::close_stream(self.direction);
    }

    pub(super) fn answer(this: &Rc<RefCell<Self>>, response: Response) {
        if let Some(identity) = &response.identity {
            publish(identity);
        }
        let Response { status, headers, body, detail, .. } = response;
        // The stream has gone: nobody is left to be told.
        let _ = hostcalls::send_local_response(status, &headers, &body, detail.as_str());
        let mut stream = this.borrow_mut();
        stream.answered = Some(detail);
        stream.request.told = true;
    }
}

fn publish(identity: &Identity) {
    // Envoy refuses only what was declared read-only, and nobody declares it.
    let _ = hostcalls::set_property(identity::PROPERTY, &identity.encode());
}
