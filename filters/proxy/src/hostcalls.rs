//! Envoy's side of proxy-wasm ABI 0.2.1, as functions that return what went wrong.
//!
//! The SDK's own wrappers panic on statuses that a client can provoke (a header that is not UTF-8, a map read
//! in the wrong phase), and a panic here costs every request paused in this VM. So everything goes through
//! this module, on bytes. The exceptions are the two `dispatch` functions: the SDK's dispatcher must know the
//! token of every callout, or its reply would panic there.
#![expect(unsafe_code, reason = "the one audited place that crosses into the host")]

use std::{fmt, ptr, time::Duration};

use proxy_wasm::{hostcalls, types::Status as SdkStatus};

/// A status other than Ok (`proxy_status_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(u32);

impl Status {
    pub const BAD_ARGUMENT: Self = Self(2);
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            1 => "NotFound",
            2 => "BadArgument",
            3 => "SerializationFailure",
            4 => "ParseFailure",
            7 => "Empty",
            8 => "CasMismatch",
            10 => "InternalFailure",
            12 => "Unimplemented",
            other => return write!(f, "status {other}"),
        };
        f.write_str(name)
    }
}

pub type Result<T> = std::result::Result<T, Status>;

/// `proxy_map_type_t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Map {
    RequestHeaders = 0,
    RequestTrailers = 1,
    ResponseHeaders = 2,
    ResponseTrailers = 3,
    HttpCallResponseHeaders = 6,
}

/// `proxy_buffer_type_t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Buffer {
    RequestBody = 0,
    ResponseBody = 1,
    HttpCallResponseBody = 4,
    GrpcReceive = 5,
    PluginConfiguration = 7,
}

/// `proxy_stream_type_t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Direction {
    Request = 0,
    Response = 1,
}

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_log(level: u32, text: *const u8, size: usize) -> u32;
    fn proxy_get_log_level(level: *mut u32) -> u32;
    fn proxy_get_current_time_nanoseconds(now: *mut u64) -> u32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
    fn proxy_get_property(
        path: *const u8,
        path_size: usize,
        value: *mut *mut u8,
        value_size: *mut usize,
    ) -> u32;
    fn proxy_set_property(path: *const u8, path_size: usize, value: *const u8, value_size: usize) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        max_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_set_buffer_bytes(
        buffer: u32,
        start: usize,
        size: usize,
        data: *const u8,
        data_size: usize,
    ) -> u32;
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_remove_header_map_value(map: u32, name: *const u8, name_size: usize) -> u32;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
    fn proxy_continue_stream(direction: u32) -> u32;
    fn proxy_close_stream(direction: u32) -> u32;
    fn proxy_done() -> u32;
    fn proxy_set_effective_context(context: u32) -> u32;
    fn proxy_get_shared_data(
        key: *const u8,
        key_size: usize,
        value: *mut *mut u8,
        value_size: *mut usize,
        cas: *mut u32,
    ) -> u32;
    fn proxy_set_shared_data(
        key: *const u8,
        key_size: usize,
        value: *const u8,
        value_size: usize,
        cas: u32,
    ) -> u32;
    fn proxy_call_foreign_function(
        name: *const u8,
        name_size: usize,
        arguments: *const u8,
        arguments_size: usize,
        results: *mut *mut u8,
        results_size: *mut usize,
    ) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: *mut u32) -> u32;
    fn proxy_increment_metric(id: u32, by: i64) -> u32;
    fn proxy_record_metric(id: u32, value: u64) -> u32;
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn clock_time_get(clock: u32, precision: u64, now: *mut u64) -> u32;
}

fn check(status: u32) -> Result<()> {
    if status == 0 { Ok(()) } else { Err(Status(status)) }
}

/// Runs a call that hands over a buffer, and takes the buffer.
fn take(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Result<Vec<u8>> {
    let mut data: *mut u8 = ptr::null_mut();
    let mut size = 0_usize;
    check(call(&raw mut data, &raw mut size))?;
    if data.is_null() {
        return Ok(Vec::new());
    }
    // SAFETY: the host got this memory from our own `proxy_on_memory_allocate(size)`, which the SDK makes a
    // boxed slice of exactly `size` bytes of the global allocator, and it keeps no copy of the pointer.
    Ok(unsafe { Vec::from_raw_parts(data, size, size) })
}

/// `proxy_log` at a level of `proxy_log_level_t`.
pub fn log(level: u32, text: &str) {
    // SAFETY: pointer and size describe `text`, which outlives the call. A failure has nowhere to go.
    let _ = unsafe { proxy_log(level, text.as_ptr(), text.len()) };
}

pub fn log_level() -> Result<u32> {
    let mut level = 0;
    // SAFETY: `level` is valid for one write.
    check(unsafe { proxy_get_log_level(&raw mut level) }).map(|()| level)
}

/// Wall clock in nanoseconds since the Unix epoch.
pub fn now() -> Result<u64> {
    let mut now = 0;
    // SAFETY: `now` is valid for one write.
    check(unsafe { proxy_get_current_time_nanoseconds(&raw mut now) }).map(|()| now)
}

/// A clock that never jumps, in nanoseconds; the same one in every worker of the process.
pub fn monotonic() -> Result<u64> {
    const MONOTONIC: u32 = 1;
    let mut now = 0;
    // SAFETY: `now` is valid for one write.
    check(unsafe { clock_time_get(MONOTONIC, 0, &raw mut now) }).map(|()| now)
}

/// Ticks for the root context of the current context; zero stops them.
pub fn set_tick_period(period: Duration) -> Result<()> {
    let period = u32::try_from(period.as_millis()).unwrap_or(u32::MAX);
    // SAFETY: takes a number.
    check(unsafe { proxy_set_tick_period_milliseconds(period) })
}

/// An attribute; parts of the path are separated by zero bytes.
pub fn property(path: &[&str]) -> Result<Vec<u8>> {
    let path = path.join("\0");
    // SAFETY: pointer and size describe `path`.
    take(|data, size| unsafe { proxy_get_property(path.as_ptr(), path.len(), data, size) })
}

/// Sets filter state `wasm.<name>`.
pub fn set_property(name: &str, value: &[u8]) -> Result<()> {
    // SAFETY: pointers and sizes describe the two slices.
    check(unsafe { proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) })
}

pub fn buffer(buffer: Buffer, max_size: usize) -> Result<Vec<u8>> {
    // SAFETY: the out pointers come from `take`.
    take(|data, size| unsafe { proxy_get_buffer_bytes(buffer as u32, 0, max_size, data, size) })
}

/// Replaces the first `old_size` bytes.
pub fn set_buffer(buffer: Buffer, old_size: usize, value: &[u8]) -> Result<()> {
    // SAFETY: pointer and size describe `value`.
    check(unsafe { proxy_set_buffer_bytes(buffer as u32, 0, old_size, value.as_ptr(), value.len()) })
}

/// A header map in the pairs encoding.
pub fn headers(map: Map) -> Result<Vec<u8>> {
    // SAFETY: the out pointers come from `take`.
    take(|data, size| unsafe { proxy_get_header_map_pairs(map as u32, data, size) })
}

pub fn set_header(map: Map, name: &str, value: &[u8]) -> Result<()> {
    // SAFETY: pointers and sizes describe the two slices.
    check(unsafe {
        proxy_replace_header_map_value(map as u32, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
}

pub fn remove_header(map: Map, name: &str) -> Result<()> {
    // SAFETY: pointer and size describe `name`.
    check(unsafe { proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len()) })
}

/// Answers in the backend's place. Envoy turns the status into `grpc-status` for gRPC requests.
pub fn send_local_response(
    status: u16,
    headers: &[(String, String)],
    body: &[u8],
    details: &str,
) -> Result<()> {
    const NO_GRPC_STATUS: i32 = -1;
    let headers = pairs(headers);
    // SAFETY: pointers and sizes describe the slices.
    check(unsafe {
        proxy_send_local_response(
            u32::from(status),
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            NO_GRPC_STATUS,
        )
    })
}

/// The pairs encoding: a count, the lengths, then names and values each ended by a zero byte.
fn pairs(headers: &[(String, String)]) -> Vec<u8> {
    let mut out = size(headers.len()).to_vec();
    for (name, value) in headers {
        out.extend(size(name.len()));
        out.extend(size(value.len()));
    }
    for (name, value) in headers {
        out.extend_from_slice(name.as_bytes());
        out.push(0);
        out.extend_from_slice(value.as_bytes());
        out.push(0);
    }
    out
}

fn size(n: usize) -> [u8; 4] {
    u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes()
}

pub fn continue_stream(direction: Direction) -> Result<()> {
    // SAFETY: takes a number.
    check(unsafe { proxy_continue_stream(direction as u32) })
}

pub fn close_stream(direction: Direction) -> Result<()> {
    // SAFETY: takes a number.
    check(unsafe { proxy_close_stream(direction as u32) })
}

/// The root context that said it was not done yet now is.
pub fn done() -> Result<()> {
    // SAFETY: takes nothing.
    check(unsafe { proxy_done() })
}

/// Makes later calls act on that request (or root) until the current callback ends.
pub fn set_effective_context(context: u32) -> Result<()> {
    // SAFETY: takes a number; an unknown one is answered with BadArgument.
    check(unsafe { proxy_set_effective_context(context) })
}

pub fn shared_data(key: &str) -> Result<(Vec<u8>, u32)> {
    let mut cas = 0;
    // SAFETY: pointer and size describe `key`; `cas` is valid for one write.
    let value = take(|data, size| unsafe {
        proxy_get_shared_data(key.as_ptr(), key.len(), data, size, &raw mut cas)
    })?;
    Ok((value, cas))
}

/// `cas` zero overwrites; on a missing key any other number creates it.
pub fn set_shared_data(key: &str, value: &[u8], cas: u32) -> Result<()> {
    // SAFETY: pointers and sizes describe the two slices.
    check(unsafe { proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas) })
}

pub fn call_foreign_function(name: &str, arguments: &[u8]) -> Result<Vec<u8>> {
    // SAFETY: pointers and sizes describe the two slices.
    take(|data, size| unsafe {
        proxy_call_foreign_function(
            name.as_ptr(),
            name.len(),
            arguments.as_ptr(),
            arguments.len(),
            data,
            size,
        )
    })
}

/// `proxy_metric_type_t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum MetricType {
    Counter = 0,
    Histogram = 2,
}

/// Defines a metric, or finds the one of that name.
pub fn define_metric(kind: MetricType, name: &str) -> Result<u32> {
    let mut id = 0;
    // SAFETY: pointer and size describe `name`; `id` is valid for one write.
    check(unsafe { proxy_define_metric(kind as u32, name.as_ptr(), name.len(), &raw mut id) }).map(|()| id)
}

pub fn increment(metric: u32, by: i64) -> Result<()> {
    // SAFETY: takes numbers; an unknown metric is answered with BadArgument.
    check(unsafe { proxy_increment_metric(metric, by) })
}

/// One more value for a histogram.
pub fn record(metric: u32, value: u64) -> Result<()> {
    // SAFETY: takes numbers; an unknown metric is answered with BadArgument.
    check(unsafe { proxy_record_metric(metric, value) })
}

/// An HTTP callout. The only statuses that Envoy answers are the two that the SDK returns.
pub fn dispatch_http(
    cluster: &str,
    headers: Vec<(&str, &str)>,
    body: &[u8],
    timeout: Duration,
) -> std::result::Result<u32, SdkStatus> {
    let body = if body.is_empty() { None } else { Some(body) };
    hostcalls::dispatch_http_call(cluster, headers, body, Vec::new(), timeout)
}

/// A unary gRPC callout. `service` is a serialized `GrpcService`: Envoy parses a bare cluster name as one
/// first, and some names (`analytics`) then abort the whole process.
pub fn dispatch_grpc(
    service: &str,
    name: &str,
    method: &str,
    message: &[u8],
    timeout: Duration,
) -> std::result::Result<u32, SdkStatus> {
    hostcalls::dispatch_grpc_call(service, name, method, Vec::new(), Some(message), timeout)
}
