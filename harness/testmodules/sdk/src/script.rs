use std::{rc::Rc, time::Duration};

use log::info;
use proxy_wasm::{
    hostcalls,
    traits::{Context, HttpContext, RootContext},
    types::{Action, Bytes, ContextType, LogLevel, MapType, MetricType, Status},
};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Trace);
    proxy_wasm::set_root_context(|_| Box::new(Root { script: Rc::default() }));
}}

/// Callback, action, arguments.
type Line = (String, String, Vec<String>);

struct Root {
    script: Rc<Vec<Line>>,
}

struct Stream {
    id: u32,
    script: Rc<Vec<Line>>,
}

fn parse(configuration: &[u8]) -> Vec<Line> {
    String::from_utf8_lossy(configuration)
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().map(str::to_owned);
            Some((words.next()?, words.next()?, words.collect()))
        })
        .collect()
}

impl Context for Root {
    fn on_http_call_response(&mut self, _: u32, headers: usize, body: usize, trailers: usize) {
        info!("root call_response {headers} {body} {trailers}");
        run(&self.script, "call_response", 0, true);
    }

    fn on_grpc_call_response(&mut self, _: u32, status: u32, size: usize) {
        info!("root grpc_response {status} {size}");
    }
}

impl RootContext for Root {
    fn on_vm_start(&mut self, size: usize) -> bool {
        info!("vm_start {size}");
        true
    }

    fn on_configure(&mut self, size: usize) -> bool {
        info!("configure {size}");
        let configuration =
            hostcalls::get_buffer(proxy_wasm::types::BufferType::PluginConfiguration, 0, size);
        self.script = Rc::new(parse(&configuration.ok().flatten().unwrap_or_default()));
        run(&self.script, "configure", 0, true) == Action::Continue
    }

    fn on_tick(&mut self) {
        info!("tick");
        run(&self.script, "tick", 0, true);
    }

    fn on_queue_ready(&mut self, queue: u32) {
        info!("queue_ready {:?}", hostcalls::dequeue_shared_queue(queue));
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream { id, script: Rc::clone(&self.script) }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Stream {
    fn run(&self, callback: &str, end_of_stream: bool) -> Action {
        run(&self.script, callback, self.id, end_of_stream)
    }
}

impl Context for Stream {
    fn on_http_call_response(&mut self, _: u32, headers: usize, body: usize, trailers: usize) {
        info!("call_response {headers} {body} {trailers}");
        self.run("call_response", true);
    }

    fn on_grpc_call_response(&mut self, _: u32, status: u32, size: usize) {
        info!("grpc_response {status} {size}");
        self.run("grpc_response", true);
    }

    fn on_done(&mut self) -> bool {
        info!("done");
        self.run("done", true);
        true
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        info!("request_headers {end_of_stream}");
        self.run("request_headers", end_of_stream)
    }

    fn on_http_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        info!("request_body {size} {end_of_stream}");
        self.run("request_body", end_of_stream)
    }

    fn on_http_request_trailers(&mut self, count: usize) -> Action {
        info!("request_trailers {count}");
        self.run("request_trailers", true)
    }

    fn on_http_response_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        info!("response_headers {end_of_stream}");
        self.run("response_headers", end_of_stream)
    }

    fn on_http_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        info!("response_body {size} {end_of_stream}");
        self.run("response_body", end_of_stream)
    }

    fn on_http_response_trailers(&mut self, count: usize) -> Action {
        info!("response_trailers {count}");
        self.run("response_trailers", true)
    }

    fn on_log(&mut self) {
        info!("log");
        self.run("log", true);
    }
}

/// Runs a callback's lines; pauses if one of them says so.
fn run(script: &[Line], callback: &str, id: u32, end_of_stream: bool) -> Action {
    let mut result = Action::Continue;
    for (_, action, arguments) in script.iter().filter(|(name, ..)| name == callback) {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        match (action.as_str(), arguments.as_slice()) {
            ("pause", []) => result = Action::Pause,
            ("buffer", []) if !end_of_stream => result = Action::Pause,
            ("buffer", []) => {}
            ("act-on", [stream]) => {
                let _ = hostcalls::set_effective_context(stream.parse().unwrap_or(id));
            }
            (action, arguments) => {
                if let Err(status) = act(action, arguments) {
                    info!("{action}: {status:?}");
                }
            }
        }
    }
    result
}

fn act(action: &str, arguments: &[&str]) -> Result<(), Status> {
    match (action, arguments) {
        ("headers", _) | ("body", _) | ("property", _) => show(action, arguments),
        ("set", [map, name, value]) => hostcalls::set_map_value(map_type(map), name, Some(value)),
        ("add", [map, name, value]) => hostcalls::add_map_value(map_type(map), name, value),
        ("remove", [map, name]) => hostcalls::set_map_value(map_type(map), name, None),
        ("set-property", [name, value]) => hostcalls::set_property(vec![name], Some(value.as_bytes())),
        ("set-body", [side, body]) => {
            hostcalls::set_buffer(buffer_type(side), 0, usize::MAX, body.as_bytes())
        }
        ("resume-request", []) => hostcalls::resume_http_request(),
        ("resume-response", []) => hostcalls::resume_http_response(),
        ("reset", []) => hostcalls::reset_http_request(),
        ("reply", [code, body, headers @ ..]) => {
            let headers = headers.iter().filter_map(|header| header.split_once('=')).collect();
            hostcalls::send_http_response(code.parse().unwrap_or(500), headers, Some(body.as_bytes()))
        }
        ("call", [cluster, timeout]) => call(cluster, timeout),
        ("grpc", [upstream, timeout]) => {
            let upstream =
                upstream.replace("\\n", "\n").replace("\\u{9}", "\u{9}").replace("\\u{7}", "\u{7}");
            let timeout = Duration::from_millis(timeout.parse().unwrap_or(0));
            hostcalls::dispatch_grpc_call(
                &upstream,
                "test.Service",
                "Call",
                vec![],
                Some(b"message"),
                timeout,
            )
            .map(drop)
        }
        ("count", [name]) => {
            let id = hostcalls::define_metric(MetricType::Counter, name)?;
            hostcalls::increment_metric(id, 1)
        }
        ("tick", [millis]) => hostcalls::set_tick_period(Duration::from_millis(millis.parse().unwrap_or(0))),
        ("share", [key, value, cas]) => {
            hostcalls::set_shared_data(key, Some(value.as_bytes()), cas.parse().ok())
        }
        ("count-shared", [key]) => count_shared(key),
        ("register-queue", [name]) => hostcalls::register_shared_queue(name).map(drop),
        ("enqueue", [name, item]) => {
            let queue = hostcalls::resolve_shared_queue("", name)?.ok_or(Status::NotFound)?;
            hostcalls::enqueue_shared_queue(queue, Some(item.as_bytes()))
        }
        ("env", [name]) => {
            info!("env {:?}", std::env::var(name));
            Ok(())
        }
        ("now", []) => {
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            info!("now {}", since.map_or(0, |since| since.as_secs()));
            Ok(())
        }
        ("spin", [rounds]) => {
            let spun = (0..rounds.parse().unwrap_or(0u64)).fold(1u64, |sum, n| std::hint::black_box(sum ^ n));
            info!("spun {spun}");
            Ok(())
        }
        ("grow", [bytes]) => {
            let kept = std::hint::black_box(vec![1u8; bytes.parse().unwrap_or(0)]).leak();
            info!("kept {}", kept.len());
            Ok(())
        }
        ("panic", []) => std::process::abort(),
        _ => {
            info!("unknown action {action} {arguments:?}");
            Ok(())
        }
    }
}

fn call(cluster: &str, timeout: &str) -> Result<(), Status> {
    let headers = vec![(":method", "GET"), (":path", "/called"), (":authority", "idp.example.com")];
    let timeout = Duration::from_millis(timeout.parse().unwrap_or(0));
    hostcalls::dispatch_http_call(cluster, headers, None, vec![], timeout).map(drop)
}

/// Reads, adds one and writes until nobody came between.
fn count_shared(key: &str) -> Result<(), Status> {
    loop {
        let (value, cas) = hostcalls::get_shared_data(key)?;
        let count = value.and_then(|v| v.try_into().ok()).map_or(0, u64::from_le_bytes).wrapping_add(1);
        match hostcalls::set_shared_data(key, Some(&count.to_le_bytes()), cas.or(Some(u32::MAX))) {
            Err(Status::CasMismatch) => {}
            result => return result,
        }
    }
}

fn show(what: &str, arguments: &[&str]) -> Result<(), Status> {
    let text = |bytes: Bytes| String::from_utf8_lossy(&bytes).into_owned();
    match (what, arguments) {
        ("headers", [map]) => {
            let pairs = hostcalls::get_map_bytes(map_type(map))?;
            let pairs: Vec<_> =
                pairs.into_iter().map(|(name, value)| format!("{name}={}", text(value))).collect();
            info!("headers {}", pairs.join(" "));
        }
        ("headers", [map, name]) => {
            info!("header {name}: {:?}", hostcalls::get_map_value_bytes(map_type(map), name)?.map(text));
        }
        ("body", [side]) => {
            info!("body {:?}", hostcalls::get_buffer(buffer_type(side), 0, usize::MAX)?.map(text))
        }
        ("property", [path]) => {
            info!("property {path}: {:?}", hostcalls::get_property(path.split('/').collect())?.map(text));
        }
        _ => {}
    }
    Ok(())
}

fn map_type(name: &str) -> MapType {
    match name {
        "request" => MapType::HttpRequestHeaders,
        "request-trailers" => MapType::HttpRequestTrailers,
        "response" => MapType::HttpResponseHeaders,
        "response-trailers" => MapType::HttpResponseTrailers,
        _ => MapType::HttpCallResponseHeaders,
    }
}

fn buffer_type(name: &str) -> proxy_wasm::types::BufferType {
    match name {
        "request" => proxy_wasm::types::BufferType::HttpRequestBody,
        "response" => proxy_wasm::types::BufferType::HttpResponseBody,
        _ => proxy_wasm::types::BufferType::HttpCallResponseBody,
    }
}
