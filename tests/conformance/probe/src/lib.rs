//! A module that makes every host call of ABI 0.2.1 in every phase and logs, in one line each, what came back.
//!
//! A request with `x-probe-do: <deed> <phase>` does one thing in one phase instead (see [`deed`]); `watch` does
//! nothing and only shows the phases.
#![cfg(target_os = "wasi")]

mod deed;
mod raw;
mod stream;
mod sweep;
mod vector;
mod voice;

use std::{cell::RefCell, rc::Rc};

use proxy_wasm::{
    traits::{Context, HttpContext, RootContext},
    types::ContextType,
};

use crate::{raw::Value, stream::Stream, voice::Voice};

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|context| {
        Box::new(Root { context, instance: 0, swept: false, paused: Rc::default() })
    });
}}

struct Root {
    context: u32,
    instance: u32,
    /// The first tick sweeps, later ones resume.
    swept: bool,
    paused: Paused,
}

/// The requests that wait to be resumed by a tick.
type Paused = Rc<RefCell<Vec<stream::Resume>>>;

impl Root {
    fn voice(&self, phase: &'static str) -> Voice {
        Voice { instance: self.instance, phase }
    }
}

impl RootContext for Root {
    fn on_vm_start(&mut self, size: usize) -> bool {
        self.instance = next_instance();
        let voice = self.voice("vm_start");
        voice.say(format_args!("configuration of {size} bytes"));
        sweep::wasi(&voice);
        sweep::sweep(&voice, self.context);
        deed::all_without_stream(&voice);
        true
    }

    fn on_configure(&mut self, size: usize) -> bool {
        let voice = self.voice("configure");
        voice.say(format_args!("configuration of {size} bytes"));
        sweep::sweep(&voice, self.context);
        deed::all_without_stream(&voice);
        voice.call("set_tick_period(50)", raw::set_tick(50));
        true
    }

    fn on_tick(&mut self) {
        if self.swept {
            raw::set_tick(0);
            let paused = std::mem::take(&mut *self.paused.borrow_mut());
            paused.iter().for_each(|resume| resume.carry_out(&self.voice("resume"), self.context));
            return;
        }
        self.swept = true;
        let voice = self.voice("tick");
        sweep::sweep(&voice, self.context);
        deed::all_without_stream(&voice);
        deed::call_out(&voice, "side");
    }

    fn create_http_context(&self, context: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream::new(context, self.instance, Rc::clone(&self.paused))))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Context for Root {
    fn on_http_call_response(&mut self, _token: u32, headers: usize, body: usize, trailers: usize) {
        let voice = self.voice("background_answer");
        deed::show_answer(&voice, headers, body, trailers);
        sweep::sweep(&voice, self.context);
        deed::all_without_stream(&voice);
    }
}

/// Numbers the instances that share a `vm_id`, in the order in which they start.
fn next_instance() -> u32 {
    const KEY: &str = "probe/instances";
    loop {
        let (answer, cas) = raw::shared(KEY);
        let last = match &answer.value {
            Value::Bytes(bytes) => bytes.first().copied().unwrap_or(0),
            _ => 0,
        };
        let next = last.saturating_add(1);
        // Not zero, which would overwrite: an instance that starts at the same time must not be lost.
        let cas = if answer.status == 0 { cas } else { u32::MAX };
        if raw::set_shared(KEY, &[next], cas).status == 0 {
            return u32::from(next);
        }
    }
}
