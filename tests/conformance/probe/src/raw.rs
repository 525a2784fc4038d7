//! The host's functions as they are: arguments in, status and value out, nothing interpreted.
//!
//! Not the SDK's wrappers, because they panic on the very statuses that this module is there to see.
#![expect(unsafe_code, reason = "calls into the host, raw on purpose")]

use std::ptr;

/// What a call gave back.
pub(crate) struct Answer {
    pub(crate) status: u32,
    pub(crate) value: Value,
}

pub(crate) enum Value {
    Nothing,
    Bytes(Vec<u8>),
    Number(u64),
}

#[link(wasm_import_module = "env")]
extern "C" {
    fn proxy_log(level: u32, text: *const u8, size: usize) -> u32;
    fn proxy_get_log_level(level: *mut u32) -> u32;
    fn proxy_get_current_time_nanoseconds(now: *mut u64) -> u32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
    fn proxy_get_status(code: *mut u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_property(path: *const u8, path_size: usize, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_set_property(path: *const u8, path_size: usize, value: *const u8, size: usize) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        max: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_get_buffer_status(buffer: u32, length: *mut usize, flags: *mut u32) -> u32;
    fn proxy_set_buffer_bytes(buffer: u32, start: usize, old: usize, data: *const u8, size: usize) -> u32;
    fn proxy_get_header_map_size(map: u32, size: *mut usize) -> u32;
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_set_header_map_pairs(map: u32, data: *const u8, size: usize) -> u32;
    fn proxy_get_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_add_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        size: usize,
    ) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        size: usize,
    ) -> u32;
    fn proxy_remove_header_map_value(map: u32, name: *const u8, name_size: usize) -> u32;
    fn proxy_get_shared_data(
        key: *const u8,
        key_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
        cas: *mut u32,
    ) -> u32;
    fn proxy_set_shared_data(key: *const u8, key_size: usize, value: *const u8, size: usize, cas: u32)
        -> u32;
    fn proxy_register_shared_queue(name: *const u8, size: usize, token: *mut u32) -> u32;
    fn proxy_resolve_shared_queue(
        vm: *const u8,
        vm_size: usize,
        name: *const u8,
        name_size: usize,
        token: *mut u32,
    ) -> u32;
    fn proxy_enqueue_shared_queue(token: u32, value: *const u8, size: usize) -> u32;
    fn proxy_dequeue_shared_queue(token: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_http_call(
        upstream: *const u8,
        upstream_size: usize,
        headers: *const u8,
        headers_size: usize,
        body: *const u8,
        body_size: usize,
        trailers: *const u8,
        trailers_size: usize,
        timeout: u32,
        token: *mut u32,
    ) -> u32;
    fn proxy_grpc_call(
        upstream: *const u8,
        upstream_size: usize,
        service: *const u8,
        service_size: usize,
        method: *const u8,
        method_size: usize,
        metadata: *const u8,
        metadata_size: usize,
        message: *const u8,
        message_size: usize,
        timeout: u32,
        token: *mut u32,
    ) -> u32;
    fn proxy_grpc_cancel(token: u32) -> u32;
    fn proxy_grpc_close(token: u32) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, size: usize, id: *mut u32) -> u32;
    fn proxy_increment_metric(id: u32, by: i64) -> u32;
    fn proxy_record_metric(id: u32, value: u64) -> u32;
    fn proxy_get_metric(id: u32, value: *mut u64) -> u32;
    fn proxy_call_foreign_function(
        name: *const u8,
        name_size: usize,
        arguments: *const u8,
        size: usize,
        data: *mut *mut u8,
        data_size: *mut usize,
    ) -> u32;
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
    fn proxy_set_effective_context(context: u32) -> u32;
    fn proxy_done() -> u32;
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
extern "C" {
    fn clock_time_get(clock: u32, precision: u64, now: *mut u64) -> u32;
    fn random_get(buffer: *mut u8, size: usize) -> u32;
    fn environ_sizes_get(count: *mut usize, size: *mut usize) -> u32;
    fn args_sizes_get(count: *mut usize, size: *mut usize) -> u32;
    fn fd_write(fd: u32, vectors: *const [usize; 2], count: usize, written: *mut usize) -> u32;
    fn fd_close(fd: u32) -> u32;
    fn fd_prestat_get(fd: u32, prestat: *mut u64) -> u32;
    fn sched_yield() -> u32;
}

fn plain(status: u32) -> Answer {
    Answer { status, value: Value::Nothing }
}

/// A call that hands over a buffer.
fn bytes(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Answer {
    let (mut data, mut size) = (ptr::null_mut(), 0_usize);
    let status = call(&raw mut data, &raw mut size);
    if status != 0 {
        return plain(status);
    }
    let value = if data.is_null() {
        Vec::new()
    } else {
        // SAFETY: the host got this memory from the SDK's `proxy_on_memory_allocate(size)`, a boxed slice of
        // exactly `size` bytes of the global allocator, and keeps no copy of the pointer.
        unsafe { Vec::from_raw_parts(data, size, size) }
    };
    Answer { status, value: Value::Bytes(value) }
}

/// A call that writes a number.
fn number<T: Default + Copy + Into<u64>>(call: impl FnOnce(*mut T) -> u32) -> Answer {
    let mut value = T::default();
    let status = call(&raw mut value);
    if status == 0 {
        Answer { status, value: Value::Number(value.into()) }
    } else {
        plain(status)
    }
}

/// [`number`] for sizes, which are 32 bits wide in Wasm and no `Into<u64>`.
fn length(call: impl FnOnce(*mut usize) -> u32) -> Answer {
    let mut value = 0_usize;
    let status = call(&raw mut value);
    if status == 0 {
        Answer { status, value: Value::Number(value as u64) }
    } else {
        plain(status)
    }
}

// SAFETY of everything below: pointers and sizes describe slices that outlive the call, and the out pointers come
// from `bytes`, `number` and `length`, which own valid places for one write.

pub(crate) fn log(level: u32, text: &str) -> Answer {
    plain(unsafe { proxy_log(level, text.as_ptr(), text.len()) })
}

pub(crate) fn log_level() -> Answer {
    number(|level| unsafe { proxy_get_log_level(level) })
}

pub(crate) fn now() -> Answer {
    number(|now| unsafe { proxy_get_current_time_nanoseconds(now) })
}

pub(crate) fn set_tick(milliseconds: u32) -> Answer {
    plain(unsafe { proxy_set_tick_period_milliseconds(milliseconds) })
}

pub(crate) fn status() -> Answer {
    let mut code = 0;
    bytes(|data, size| unsafe { proxy_get_status(&raw mut code, data, size) })
}

pub(crate) fn property(path: &str) -> Answer {
    bytes(|data, size| unsafe { proxy_get_property(path.as_ptr(), path.len(), data, size) })
}

pub(crate) fn set_property(path: &str, value: &[u8]) -> Answer {
    plain(unsafe { proxy_set_property(path.as_ptr(), path.len(), value.as_ptr(), value.len()) })
}

pub(crate) fn buffer(buffer: u32, start: usize, max: usize) -> Answer {
    bytes(|data, size| unsafe { proxy_get_buffer_bytes(buffer, start, max, data, size) })
}

pub(crate) fn buffer_status(buffer: u32) -> Answer {
    let mut flags = 0;
    length(|size| unsafe { proxy_get_buffer_status(buffer, size, &raw mut flags) })
}

pub(crate) fn set_buffer(buffer: u32, start: usize, old: usize, value: &[u8]) -> Answer {
    plain(unsafe { proxy_set_buffer_bytes(buffer, start, old, value.as_ptr(), value.len()) })
}

pub(crate) fn map_size(map: u32) -> Answer {
    length(|size| unsafe { proxy_get_header_map_size(map, size) })
}

pub(crate) fn pairs(map: u32) -> Answer {
    bytes(|data, size| unsafe { proxy_get_header_map_pairs(map, data, size) })
}

/// `pairs` in the encoding that [`pairs`] returns.
pub(crate) fn set_pairs(map: u32, pairs: &[u8]) -> Answer {
    plain(unsafe { proxy_set_header_map_pairs(map, pairs.as_ptr(), pairs.len()) })
}

pub(crate) fn header(map: u32, name: &str) -> Answer {
    bytes(|data, size| unsafe { proxy_get_header_map_value(map, name.as_ptr(), name.len(), data, size) })
}

pub(crate) fn add_header(map: u32, name: &str, value: &[u8]) -> Answer {
    plain(unsafe { proxy_add_header_map_value(map, name.as_ptr(), name.len(), value.as_ptr(), value.len()) })
}

pub(crate) fn replace_header(map: u32, name: &str, value: &[u8]) -> Answer {
    plain(unsafe {
        proxy_replace_header_map_value(map, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
}

pub(crate) fn remove_header(map: u32, name: &str) -> Answer {
    plain(unsafe { proxy_remove_header_map_value(map, name.as_ptr(), name.len()) })
}

/// The value, and its version where there is one.
pub(crate) fn shared(key: &str) -> (Answer, u32) {
    let mut cas = 0;
    let answer = bytes(|data, size| unsafe {
        proxy_get_shared_data(key.as_ptr(), key.len(), data, size, &raw mut cas)
    });
    (answer, cas)
}

pub(crate) fn set_shared(key: &str, value: &[u8], cas: u32) -> Answer {
    plain(unsafe { proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas) })
}

pub(crate) fn register_queue(name: &str) -> Answer {
    number(|token| unsafe { proxy_register_shared_queue(name.as_ptr(), name.len(), token) })
}

pub(crate) fn resolve_queue(vm: &str, name: &str) -> Answer {
    number(|token| unsafe {
        proxy_resolve_shared_queue(vm.as_ptr(), vm.len(), name.as_ptr(), name.len(), token)
    })
}

pub(crate) fn enqueue(token: u32, value: &[u8]) -> Answer {
    plain(unsafe { proxy_enqueue_shared_queue(token, value.as_ptr(), value.len()) })
}

pub(crate) fn dequeue(token: u32) -> Answer {
    bytes(|data, size| unsafe { proxy_dequeue_shared_queue(token, data, size) })
}

/// Never for a call that Envoy would send: the SDK must know its token (see `enforcer-proxy`).
pub(crate) fn http_call(cluster: &str, headers: &[u8]) -> Answer {
    let mut token = 0;
    plain(unsafe {
        proxy_http_call(
            cluster.as_ptr(),
            cluster.len(),
            headers.as_ptr(),
            headers.len(),
            ptr::null(),
            0,
            NO_PAIRS.as_ptr(),
            NO_PAIRS.len(),
            1000,
            &raw mut token,
        )
    })
}

/// The pairs encoding of an empty map.
const NO_PAIRS: &[u8] = &[0; 4];

/// `service` is a serialized `GrpcService`.
pub(crate) fn grpc_call(service: &str) -> Answer {
    let mut token = 0;
    plain(unsafe {
        proxy_grpc_call(
            service.as_ptr(),
            service.len(),
            "probe.Probe".as_ptr(),
            "probe.Probe".len(),
            "Ask".as_ptr(),
            "Ask".len(),
            NO_PAIRS.as_ptr(),
            NO_PAIRS.len(),
            ptr::null(),
            0,
            1000,
            &raw mut token,
        )
    })
}

pub(crate) fn grpc_cancel(token: u32) -> Answer {
    plain(unsafe { proxy_grpc_cancel(token) })
}

pub(crate) fn grpc_close(token: u32) -> Answer {
    plain(unsafe { proxy_grpc_close(token) })
}

pub(crate) fn define_metric(kind: u32, name: &str) -> Answer {
    number(|id| unsafe { proxy_define_metric(kind, name.as_ptr(), name.len(), id) })
}

pub(crate) fn increment_metric(id: u32, by: i64) -> Answer {
    plain(unsafe { proxy_increment_metric(id, by) })
}

pub(crate) fn record_metric(id: u32, value: u64) -> Answer {
    plain(unsafe { proxy_record_metric(id, value) })
}

pub(crate) fn metric(id: u32) -> Answer {
    number(|value| unsafe { proxy_get_metric(id, value) })
}

pub(crate) fn foreign(name: &str, arguments: &[u8]) -> Answer {
    bytes(|data, size| unsafe {
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

pub(crate) fn local_response(status: u32, details: &str, body: &[u8], headers: &[u8]) -> Answer {
    plain(unsafe {
        proxy_send_local_response(
            status,
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            -1,
        )
    })
}

pub(crate) fn continue_stream(direction: u32) -> Answer {
    plain(unsafe { proxy_continue_stream(direction) })
}

pub(crate) fn close_stream(direction: u32) -> Answer {
    plain(unsafe { proxy_close_stream(direction) })
}

pub(crate) fn effective_context(context: u32) -> Answer {
    plain(unsafe { proxy_set_effective_context(context) })
}

pub(crate) fn done() -> Answer {
    plain(unsafe { proxy_done() })
}

pub(crate) fn clock(clock: u32) -> Answer {
    number(|now| unsafe { clock_time_get(clock, 0, now) })
}

pub(crate) fn random() -> Answer {
    let mut bytes = [0; 16];
    plain(unsafe { random_get(bytes.as_mut_ptr(), bytes.len()) })
}

pub(crate) fn environ_sizes() -> Answer {
    let mut size = 0;
    length(|count| unsafe { environ_sizes_get(count, &raw mut size) })
}

pub(crate) fn args_sizes() -> Answer {
    let mut size = 0;
    length(|count| unsafe { args_sizes_get(count, &raw mut size) })
}

pub(crate) fn write(fd: u32, text: &str) -> Answer {
    let vector = [text.as_ptr() as usize, text.len()];
    length(|written| unsafe { fd_write(fd, &raw const vector, 1, written) })
}

pub(crate) fn close(fd: u32) -> Answer {
    plain(unsafe { fd_close(fd) })
}

pub(crate) fn prestat(fd: u32) -> Answer {
    number(|prestat| unsafe { fd_prestat_get(fd, prestat) })
}

pub(crate) fn yield_now() -> Answer {
    plain(unsafe { sched_yield() })
}
