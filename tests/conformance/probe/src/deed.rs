//! Calls that change the course of a request, one in a request.

use std::time::Duration;

use proxy_wasm::hostcalls;

use crate::{
    raw::{self, Value},
    voice::{encode, Voice},
};

/// What a request asks for, and in which phase.
pub(crate) struct Deed {
    pub(crate) name: String,
    pub(crate) phase: String,
}

impl Deed {
    /// The content of `x-probe-do`. `None`: sweep.
    pub(crate) fn asked() -> Option<Self> {
        const REQUEST_HEADERS: u32 = 0;
        let Value::Bytes(text) = raw::header(REQUEST_HEADERS, "x-probe-do").value else { return None };
        let text = String::from_utf8_lossy(&text).into_owned();
        let (name, phase) = text.split_once(' ').unwrap_or((&text, ""));
        Some(Self { name: name.to_owned(), phase: phase.to_owned() })
    }
}

/// `proxy_stream_type_t`.
pub(crate) const REQUEST: u32 = 0;
pub(crate) const RESPONSE: u32 = 1;

/// Answers in the backend's place.
pub(crate) fn reply(voice: &Voice) {
    let headers = encode(&[("x-probe-reply", voice.phase)]);
    let answer = raw::local_response(418, "probe said so", b"probe's own answer", &headers);
    voice.call("send_local_response", answer);
}

/// Every deed, where there is no stream that it could touch.
pub(crate) fn all_without_stream(voice: &Voice) {
    voice.call("continue_stream(request)", raw::continue_stream(REQUEST));
    voice.call("continue_stream(response)", raw::continue_stream(RESPONSE));
    voice.call("close_stream(request)", raw::close_stream(REQUEST));
    voice.call("close_stream(response)", raw::close_stream(RESPONSE));
    voice.call("continue_stream(unknown)", raw::continue_stream(99));
    voice.call("close_stream(unknown)", raw::close_stream(99));
    reply(voice);
}

/// Calls another service. The SDK's own function, which notes the token for its dispatcher.
pub(crate) fn call_out(voice: &Voice, cluster: &str) -> bool {
    let headers = vec![(":method", "GET"), (":path", "/"), (":authority", "probe")];
    let sent = hostcalls::dispatch_http_call(cluster, headers, None, Vec::new(), Duration::from_millis(500));
    match sent {
        Ok(_) => voice.say(format_args!("http_call({cluster}) -> Ok")),
        Err(status) => voice.say(format_args!("http_call({cluster}) -> {status:?}")),
    }
    sent.is_ok()
}

/// What a callout brought. The number of headers is the host's business, except that none means a reset.
pub(crate) fn show_answer(voice: &Voice, headers: usize, body: usize, trailers: usize) {
    const ANSWER_HEADERS: u32 = 6;
    const ANSWER_BODY: u32 = 4;
    let any = if headers == 0 { "no" } else { "some" };
    voice.say(format_args!("{any} headers, body of {body} bytes, {trailers} trailers"));
    voice.call("get_header(http_call_headers, :status)", raw::header(ANSWER_HEADERS, ":status"));
    voice.call("get_buffer(http_call_body)", raw::buffer(ANSWER_BODY, 0, body));
}
