//! One request.

use std::{cell::Cell, rc::Rc};

use proxy_wasm::{
    traits::{Context, HttpContext},
    types::Action,
};

use crate::{
    deed::{self, Deed, REQUEST, RESPONSE},
    raw,
    sweep::sweep,
    voice::Voice,
    Paused,
};

pub(crate) struct Stream {
    context: u32,
    instance: u32,
    deed: Option<Deed>,
    /// Where the deed found the request.
    direction: u32,
    /// Whether the request waits: what comes meanwhile in this direction has to wait too. A module that lets
    /// trailers through and then continues the stream makes Envoy send them twice.
    held: Rc<Cell<bool>>,
    /// Bodies come in pieces: the first one is enough.
    swept: Vec<&'static str>,
    paused: Paused,
}

/// A request that a tick has to resume.
pub(crate) struct Resume {
    context: u32,
    direction: u32,
    held: Rc<Cell<bool>>,
}

impl Resume {
    /// Resumes the request from a tick, the way `enforcer-proxy` does. `root` is the tick's own context.
    pub(crate) fn carry_out(&self, voice: &Voice, root: u32) {
        voice.call("set_effective_context(paused)", raw::effective_context(self.context));
        sweep(voice, self.context);
        self.held.set(false);
        voice.call("continue_stream", raw::continue_stream(self.direction));
        voice.call("set_effective_context(root)", raw::effective_context(root));
    }
}

impl Stream {
    pub(crate) fn new(context: u32, instance: u32, paused: Paused) -> Self {
        Self {
            context,
            instance,
            deed: None,
            direction: REQUEST,
            held: Rc::default(),
            swept: Vec::new(),
            paused,
        }
    }

    fn voice(&self, phase: &'static str) -> Voice {
        Voice { instance: self.instance, phase }
    }

    /// Does in this phase what the request asks for.
    fn phase(&mut self, phase: &'static str, direction: u32) -> Action {
        let voice = self.voice(phase);
        let first = !self.swept.contains(&phase);
        self.swept.push(phase);
        if self.held.get() && direction == self.direction {
            return Action::Pause;
        }
        let Some(deed) = self.deed.as_ref() else {
            if first {
                sweep(&voice, self.context);
            }
            return Action::Continue;
        };
        if deed.name == "pause-and-buffer" && direction == self.direction && phase.ends_with("_body") {
            return Action::Pause;
        }
        if deed.phase != phase || !first {
            return Action::Continue;
        }
        self.direction = direction;
        self.carry_out(&voice, &deed.name)
    }

    fn carry_out(&self, voice: &Voice, deed: &str) -> Action {
        match deed {
            "watch" => return Action::Continue,
            "reply-and-continue" => {
                deed::reply(voice);
                return Action::Continue;
            }
            "reply" => deed::reply(voice),
            "close-request" => drop(voice.call("close_stream(request)", raw::close_stream(REQUEST))),
            "close-response" => drop(voice.call("close_stream(response)", raw::close_stream(RESPONSE))),
            "continue-request" => {
                voice.call("continue_stream(request)", raw::continue_stream(REQUEST));
                return Action::Continue;
            }
            "continue-response" => {
                voice.call("continue_stream(response)", raw::continue_stream(RESPONSE));
                return Action::Continue;
            }
            "pause" | "pause-and-buffer" => {
                let (context, direction, held) = (self.context, self.direction, Rc::clone(&self.held));
                self.paused.borrow_mut().push(Resume { context, direction, held });
                self.held.set(true);
                raw::set_tick(20);
            }
            "call" => self.held.set(deed::call_out(voice, "side")),
            "call-down" => self.held.set(deed::call_out(voice, "down")),
            "call-slow" => self.held.set(deed::call_out(voice, "slow")),
            "call-reset" => self.held.set(deed::call_out(voice, "reset")),
            #[expect(clippy::panic, reason = "what a trap does to others is part of what is asked")]
            "trap" => panic!("the request asked for it"),
            other => voice.say(format_args!("no such deed: {other}")),
        }
        Action::Pause
    }

    /// Pieces of a body, and that trailers exist, are the same everywhere; numbers of headers are not.
    fn body(&mut self, phase: &'static str, direction: u32, size: usize, end: bool) -> Action {
        self.voice(phase).say(format_args!("{size} bytes, end: {end}"));
        self.phase(phase, direction)
    }
}

impl Context for Stream {
    fn on_http_call_response(&mut self, _token: u32, headers: usize, body: usize, trailers: usize) {
        let voice = self.voice("answer");
        deed::show_answer(&voice, headers, body, trailers);
        sweep(&voice, self.context);
        self.held.set(false);
        voice.call("continue_stream", raw::continue_stream(self.direction));
    }

    fn on_done(&mut self) -> bool {
        self.voice("done").say("begins");
        self.phase("done", RESPONSE);
        true
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _count: usize, end: bool) -> Action {
        self.voice("request_headers").say(format_args!("end: {end}"));
        self.deed = Deed::asked();
        self.phase("request_headers", REQUEST)
    }

    fn on_http_request_body(&mut self, size: usize, end: bool) -> Action {
        self.body("request_body", REQUEST, size, end)
    }

    fn on_http_request_trailers(&mut self, count: usize) -> Action {
        self.voice("request_trailers").say(format_args!("{count} trailers"));
        self.phase("request_trailers", REQUEST)
    }

    fn on_http_response_headers(&mut self, _count: usize, end: bool) -> Action {
        self.voice("response_headers").say(format_args!("end: {end}"));
        self.phase("response_headers", RESPONSE)
    }

    fn on_http_response_body(&mut self, size: usize, end: bool) -> Action {
        self.body("response_body", RESPONSE, size, end)
    }

    fn on_http_response_trailers(&mut self, count: usize) -> Action {
        self.voice("response_trailers").say(format_args!("{count} trailers"));
        self.phase("response_trailers", RESPONSE)
    }

    fn on_log(&mut self) {
        self.voice("log").say("begins");
        self.phase("log", RESPONSE);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.voice("deleted").say("gone");
    }
}
