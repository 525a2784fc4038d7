//! Every host call, one after the other. None of them ends the stream; those that do are in [`crate::deed`].

use crate::{
    raw::{self, Value},
    vector,
    voice::{encode, Voice},
};

/// Makes every call from the phase in hand. `context` is the number of the context it is made for.
pub(crate) fn sweep(voice: &Voice, context: u32) {
    headers(voice);
    buffers(voice);
    properties(voice);
    shared_data(voice);
    queues(voice);
    metrics(voice);
    foreign_functions(voice);
    callouts(voice);
    rest(voice, context);
}

/// `proxy_map_type_t`, and a number that is none.
const MAPS: [(&str, u32); 9] = [
    ("request_headers", 0),
    ("request_trailers", 1),
    ("response_headers", 2),
    ("response_trailers", 3),
    ("grpc_initial_metadata", 4),
    ("grpc_trailing_metadata", 5),
    ("http_call_headers", 6),
    ("http_call_trailers", 7),
    ("no_such_map", 99),
];

/// `proxy_buffer_type_t`, and a number that is none.
const BUFFERS: [(&str, u32); 10] = [
    ("request_body", 0),
    ("response_body", 1),
    ("downstream_data", 2),
    ("upstream_data", 3),
    ("http_call_body", 4),
    ("grpc_message", 5),
    ("vm_configuration", 6),
    ("plugin_configuration", 7),
    ("foreign_arguments", 8),
    ("no_such_buffer", 99),
];

const PROPERTIES: [&str; 19] = [
    "plugin_name",
    "plugin_root_id",
    "plugin_vm_id",
    "request\0path",
    "request\0url_path",
    "request\0query",
    "request\0host",
    "request\0method",
    "request\0headers\0x-probe-twice",
    "response\0code",
    "response\0code_details",
    "response\0headers\0x-probe-twice",
    "xds\0route_name",
    "xds\0cluster_name",
    "metadata\0filter_metadata\0probe\0key",
    "xds\0route_metadata\0filter_metadata\0probe\0key",
    "connection\0mtls",
    "route_name",
    "no_such_property",
];

/// Values that differ from run to run.
const CHANGING_PROPERTIES: [&str; 3] = ["source\0address", "source\0port", "request\0time"];

fn headers(voice: &Voice) {
    for (name, map) in MAPS {
        voice.call(format_args!("get_header({name}, x-probe-twice)"), raw::header(map, "x-probe-twice"));
        voice.call(format_args!("get_header({name}, x-probe-odd)"), raw::header(map, "x-probe-odd"));
        voice.call(format_args!("get_header({name}, x-probe-none)"), raw::header(map, "x-probe-none"));
        voice.status(format_args!("get_map_size({name})"), raw::map_size(map));
        voice.pairs(format_args!("get_pairs({name})"), raw::pairs(map));
        voice.call(format_args!("add_header({name})"), raw::add_header(map, "x-probe-add", b"1"));
        voice.call(format_args!("add_header({name}) again"), raw::add_header(map, "X-Probe-Add", b"\xff"));
        voice.call(format_args!("replace_header({name})"), raw::replace_header(map, "x-probe-twice", b"3"));
        voice.call(format_args!("replace_header({name}) new"), raw::replace_header(map, "x-probe-new", b"4"));
        voice.call(format_args!("remove_header({name})"), raw::remove_header(map, "x-probe-gone"));
        voice.call(format_args!("remove_header({name}) again"), raw::remove_header(map, "x-probe-gone"));
        let pairs = voice.pairs(format_args!("get_pairs({name})"), raw::pairs(map));
        // Where there is a map, its own content: a request without `:path` goes nowhere.
        let pairs = pairs.unwrap_or_else(|| encode(&[("x-probe-set", "5")]));
        voice.call(format_args!("set_pairs({name})"), raw::set_pairs(map, &pairs));
    }
}

fn buffers(voice: &Voice) {
    for (name, buffer) in BUFFERS {
        voice.call(format_args!("get_buffer_status({name})"), raw::buffer_status(buffer));
        voice.call(format_args!("get_buffer({name}, all)"), raw::buffer(buffer, 0, 1 << 20));
        voice.call(format_args!("get_buffer({name}, 1, 2)"), raw::buffer(buffer, 1, 2));
        voice.call(format_args!("get_buffer({name}, 1000, 2)"), raw::buffer(buffer, 1000, 2));
        voice.call(format_args!("get_buffer({name}, 1, max)"), raw::buffer(buffer, 1, u32::MAX as usize));
        voice.call(format_args!("set_buffer({name}, 0, 0)"), raw::set_buffer(buffer, 0, 0, b"<"));
        voice.call(format_args!("set_buffer({name}, 1000, 0)"), raw::set_buffer(buffer, 1000, 0, b">"));
        voice.call(format_args!("set_buffer({name}, 1, 1)"), raw::set_buffer(buffer, 1, 1, b"--"));
        voice.call(format_args!("get_buffer({name}, all)"), raw::buffer(buffer, 0, 1 << 20));
        voice.call(format_args!("set_buffer({name}, 0, all)"), raw::set_buffer(buffer, 0, 1 << 20, b"whole"));
        voice.call(format_args!("get_buffer({name}, all)"), raw::buffer(buffer, 0, 1 << 20));
    }
}

fn properties(voice: &Voice) {
    for path in PROPERTIES {
        let name = path.replace('\0', ".");
        voice.call(format_args!("get_property({name})"), raw::property(path));
    }
    for path in CHANGING_PROPERTIES {
        let name = path.replace('\0', ".");
        voice.status(format_args!("get_property({name})"), raw::property(path));
    }
    voice.call("get_property()", raw::property(""));
    voice.call("get_property(probe) unset", raw::property("probe"));
    voice.call("set_property(probe)", raw::set_property("probe", voice.phase.as_bytes()));
    voice.call("get_property(probe)", raw::property("probe"));
    voice.call("get_property(filter_state.wasm.probe)", raw::property("filter_state\0wasm.probe"));
    voice.call("set_property(probe) again", raw::set_property("probe", b"\xff"));
    voice.call("get_property(probe)", raw::property("probe"));
}

fn shared_data(voice: &Voice) {
    // Each instance and phase has its own keys, so that what is seen does not depend on who was first.
    let key = &format!("probe/{}/{}", voice.instance, voice.phase);
    let get = |what| {
        let (answer, cas) = raw::shared(key);
        voice.call(format_args!("get_shared({what})"), answer);
        cas
    };
    get("missing");
    voice.call("set_shared(missing, cas 7)", raw::set_shared(key, b"a", 7));
    let first = get("key");
    voice.call("set_shared(key, other cas)", raw::set_shared(key, b"b", first.wrapping_add(1000)));
    voice.call("set_shared(key, cas max)", raw::set_shared(key, b"b", u32::MAX));
    voice.call("set_shared(key, its cas)", raw::set_shared(key, b"c", first));
    let second = get("key");
    voice.say(format_args!("cas moved: {}, is never 0: {}", second != first, first != 0 && second != 0));
    voice.call("set_shared(key, old cas)", raw::set_shared(key, b"d", first));
    voice.call("set_shared(key, cas 0)", raw::set_shared(key, b"e", 0));
    get("key");
    voice.call("set_shared(key, empty, cas 0)", raw::set_shared(key, b"", 0));
    let empty = get("key");
    voice.call("set_shared(key, its cas)", raw::set_shared(key, b"f", empty));
    get("key");
}

fn queues(voice: &Voice) {
    let name = &format!("probe-{}-{}", voice.instance, voice.phase);
    let token = match voice.status("register_queue", raw::register_queue(name)) {
        Some(Value::Number(token)) => u32::try_from(token).unwrap_or(0),
        _ => 0,
    };
    let same = |answer: raw::Answer| {
        let same = matches!(answer.value, Value::Number(other) if other == u64::from(token));
        voice.status(format_args!("resolve_queue(own), same: {same}"), answer);
    };
    same(raw::resolve_queue("probe", name));
    voice.status("resolve_queue(other vm)", raw::resolve_queue("no_such_vm", name));
    voice.status("resolve_queue(other name)", raw::resolve_queue("probe", "no_such_queue"));
    voice.call("dequeue(empty)", raw::dequeue(token));
    voice.call("enqueue", raw::enqueue(token, b"one"));
    voice.call("enqueue again", raw::enqueue(token, b""));
    voice.call("dequeue", raw::dequeue(token));
    voice.call("dequeue again", raw::dequeue(token));
    voice.call("dequeue(empty)", raw::dequeue(token));
    voice.call("enqueue(unknown)", raw::enqueue(u32::MAX, b"one"));
    voice.call("dequeue(unknown)", raw::dequeue(u32::MAX));
}

/// `proxy_metric_type_t`, and a number that is none.
const METRICS: [(&str, u32); 4] = [("counter", 0), ("gauge", 1), ("histogram", 2), ("no_such_type", 99)];

fn metrics(voice: &Voice) {
    for (kind, number) in METRICS {
        // Metrics are global to the process: each instance and phase has its own.
        let name = &format!("probe.{kind}.{}.{}", voice.instance, voice.phase);
        let defined = voice.status(format_args!("define_metric({kind})"), raw::define_metric(number, name));
        let Some(Value::Number(id)) = defined else { continue };
        let id = u32::try_from(id).unwrap_or(u32::MAX);
        let again = raw::define_metric(number, name);
        let same = matches!(again.value, Value::Number(other) if other == u64::from(id));
        voice.status(format_args!("define_metric({kind}) again, same: {same}"), again);
        voice.call(format_args!("get_metric({kind})"), raw::metric(id));
        voice.call(format_args!("increment_metric({kind}, 5)"), raw::increment_metric(id, 5));
        voice.call(format_args!("increment_metric({kind}, 0)"), raw::increment_metric(id, 0));
        voice.call(format_args!("increment_metric({kind}, -2)"), raw::increment_metric(id, -2));
        voice.call(format_args!("get_metric({kind})"), raw::metric(id));
        voice.call(format_args!("record_metric({kind}, 9)"), raw::record_metric(id, 9));
        voice.call(format_args!("get_metric({kind})"), raw::metric(id));
    }
    // The lowest bits of an id are its type.
    for (kind, id) in [("counter", u32::MAX << 2), ("none", u32::MAX)] {
        voice.call(format_args!("increment_metric(unknown {kind})"), raw::increment_metric(id, 1));
        voice.call(format_args!("record_metric(unknown {kind})"), raw::record_metric(id, 1));
        voice.call(format_args!("get_metric(unknown {kind})"), raw::metric(id));
    }
}

fn foreign_functions(voice: &Voice) {
    voice.call("foreign(no_such_function)", raw::foreign("no_such_function", b""));
    let verify = |text: &[u8]| raw::foreign("verify_signature", &vector::verify_arguments(text));
    voice.call("foreign(verify_signature, good)", verify(vector::TEXT));
    voice.status("foreign(verify_signature, other text)", verify(b"other"));
    voice.call("foreign(verify_signature, no protobuf)", raw::foreign("verify_signature", b"\xff\xff"));
    voice.status("foreign(verify_signature, empty)", raw::foreign("verify_signature", b""));
    voice.call("foreign(sign, no protobuf)", raw::foreign("sign", b"\xff\xff"));
    voice.status("foreign(sign, empty)", raw::foreign("sign", b""));
}

/// A serialized `GrpcService` that names the cluster `no_such_cluster`.
const NO_SUCH_GRPC: &str = "\n\x11\n\x0fno_such_cluster";
const NO_SUCH_TOKEN: u32 = 0xffff_fff0;

/// gRPC streams are left out: no filter of ours has them, and the harness does not model them.
fn callouts(voice: &Voice) {
    let whole = encode(&[(":method", "GET"), (":path", "/"), (":authority", "probe")]);
    voice.call("http_call(no_such_cluster)", raw::http_call("no_such_cluster", &whole));
    voice.call("http_call(empty)", raw::http_call("empty", &whole));
    let without = encode(&[(":method", "GET"), (":authority", "probe")]);
    voice.call("http_call(empty, no path)", raw::http_call("empty", &without));
    let without = encode(&[(":path", "/"), (":authority", "probe")]);
    voice.call("http_call(empty, no method)", raw::http_call("empty", &without));
    let without = encode(&[(":method", "GET"), (":path", "/")]);
    voice.call("http_call(empty, no authority)", raw::http_call("empty", &without));
    voice.call("grpc_call(no_such_cluster)", raw::grpc_call(NO_SUCH_GRPC));
    voice.call("grpc_close(unknown)", raw::grpc_close(NO_SUCH_TOKEN));
    voice.call("grpc_cancel(unknown)", raw::grpc_cancel(NO_SUCH_TOKEN));
}

fn rest(voice: &Voice, context: u32) {
    voice.call("get_log_level", raw::log_level());
    voice.call("log(no_such_level)", raw::log(99, "never seen"));
    voice.status("get_current_time", raw::now());
    voice.status("get_status", raw::status());
    voice.call("set_tick_period(0)", raw::set_tick(0));
    voice.call("set_effective_context(unknown)", raw::effective_context(0x00ff_ffff));
    voice.call("set_effective_context(own)", raw::effective_context(context));
    voice.call("done", raw::done());
}

/// WASI does not know phases: once is enough.
pub(crate) fn wasi(voice: &Voice) {
    for (name, clock) in [("realtime", 0), ("monotonic", 1), ("process_cputime", 2), ("thread_cputime", 3)] {
        voice.wasi(format_args!("clock_time_get({name})"), &raw::clock(clock));
    }
    voice.wasi("random_get", &raw::random());
    voice.wasi("environ_sizes_get", &raw::environ_sizes());
    voice.wasi("args_sizes_get", &raw::args_sizes());
    voice.wasi("fd_write(1)", &raw::write(1, "probe on stdout\n"));
    voice.wasi("fd_write(2)", &raw::write(2, "probe on stderr\n"));
    voice.wasi("fd_write(3)", &raw::write(3, "probe on nothing\n"));
    voice.wasi("fd_close(3)", &raw::close(3));
    voice.wasi("fd_prestat_get(3)", &raw::prestat(3));
    voice.wasi("sched_yield", &raw::yield_now());
}
