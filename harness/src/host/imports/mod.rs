//! The functions that modules import. Each file is a part of proxy-wasm-cpp-host's `exports.cc`, with the checks in
//! the same order: what a module sees of an error depends on it.

mod callouts;
mod foreign;
mod general;
mod http;
mod shared;
mod wasi;

use wasmtime::{Caller, Error, Linker};

use super::{abi::Status, state::HostState};
pub(crate) use wasi::{is_known as is_known_wasi, stub as wasi_stub};

pub(crate) type Call<'a> = Caller<'a, HostState>;

/// Why a host call does not succeed: a status for the module, or the end of the VM.
pub(crate) enum Refusal {
    Status(Status),
    Trap(Error),
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Trap(error)
    }
}

pub(crate) type Reply = Result<(), Refusal>;

/// Ends the VM, and with it the test, where Envoy as a whole would die or do what nobody can want.
fn fatal(call: &mut Call<'_>, reason: String) -> Refusal {
    call.data_mut().fatal = Some(reason.clone());
    Refusal::Trap(Error::msg(reason))
}

fn answer(reply: Reply) -> Result<u32, Error> {
    match reply {
        Ok(()) => Ok(Status::Ok as u32),
        Err(Refusal::Status(status)) => Ok(status as u32),
        Err(Refusal::Trap(error)) => Err(error),
    }
}

/// Registers `proxy_` functions whose arguments are numbers. All but the log are forbidden in `_initialize`.
macro_rules! host_calls {
    ($linker:ident: $($name:literal => $function:ident ($($arg:ident: $type:ty),*);)*) => {
        $($linker.func_wrap("env", $name, |mut call: $crate::host::imports::Call<'_>, $($arg: $type),*| {
            $crate::host::imports::forbid_in_initialize(&call, $name)?;
            $crate::host::imports::answer($function(&mut call, $($arg),*))
        })?;)*
    };
}
use host_calls;

fn forbid_in_initialize(call: &Call<'_>, name: &str) -> Result<(), Error> {
    if call.data().initializing && name != "proxy_log" {
        return Err(Error::msg(format!("`{name}` is not allowed before the module is initialised")));
    }
    Ok(())
}

pub(crate) fn register(linker: &mut Linker<HostState>) -> Result<(), Error> {
    general::register(linker)?;
    http::register(linker)?;
    shared::register(linker)?;
    callouts::register(linker)?;
    foreign::register(linker)?;
    wasi::register(linker)
}

/// Every `env` function that Envoy offers to a module of ABI 0.2.
pub(crate) fn is_known_env(name: &str) -> bool {
    const KNOWN: [&str; 41] = [
        "pthread_equal",
        "emscripten_notify_memory_growth",
        "envoy_resolve_dns",
        "proxy_log",
        "proxy_get_log_level",
        "proxy_get_status",
        "proxy_set_property",
        "proxy_get_property",
        "proxy_send_local_response",
        "proxy_continue_stream",
        "proxy_close_stream",
        "proxy_get_shared_data",
        "proxy_set_shared_data",
        "proxy_register_shared_queue",
        "proxy_resolve_shared_queue",
        "proxy_dequeue_shared_queue",
        "proxy_enqueue_shared_queue",
        "proxy_get_header_map_value",
        "proxy_add_header_map_value",
        "proxy_replace_header_map_value",
        "proxy_remove_header_map_value",
        "proxy_get_header_map_pairs",
        "proxy_set_header_map_pairs",
        "proxy_get_header_map_size",
        "proxy_get_buffer_status",
        "proxy_get_buffer_bytes",
        "proxy_set_buffer_bytes",
        "proxy_http_call",
        "proxy_grpc_call",
        "proxy_grpc_stream",
        "proxy_grpc_close",
        "proxy_grpc_cancel",
        "proxy_grpc_send",
        "proxy_set_tick_period_milliseconds",
        "proxy_get_current_time_nanoseconds",
        "proxy_define_metric",
        "proxy_increment_metric",
        "proxy_record_metric",
        "proxy_get_metric",
        "proxy_set_effective_context",
        "proxy_call_foreign_function",
    ];
    KNOWN.contains(&name) || name == "proxy_done"
}

fn invalid_memory<T>(_: T) -> Refusal {
    Refusal::Status(Status::InvalidMemoryAccess)
}

fn span(ptr: u32, len: u32) -> Option<std::ops::Range<usize>> {
    let start = usize::try_from(ptr).ok()?;
    Some(start..start.checked_add(usize::try_from(len).ok()?)?)
}

/// Bytes of the module's memory.
fn read(call: &Call<'_>, ptr: u32, len: u32) -> Result<Vec<u8>, Refusal> {
    let memory = call.data().memory.ok_or(Status::InvalidMemoryAccess)?;
    let range = span(ptr, len).ok_or(Status::InvalidMemoryAccess)?;
    Ok(memory.data(call).get(range).ok_or(Status::InvalidMemoryAccess)?.to_vec())
}

/// Text of the module's memory. Names are ASCII in practice; other bytes are replaced.
fn read_text(call: &Call<'_>, ptr: u32, len: u32) -> Result<String, Refusal> {
    Ok(String::from_utf8_lossy(&read(call, ptr, len)?).into_owned())
}

fn write(call: &mut Call<'_>, ptr: u32, bytes: &[u8]) -> Reply {
    let memory = call.data().memory.ok_or(Status::InvalidMemoryAccess)?;
    let start = usize::try_from(ptr).map_err(invalid_memory)?;
    memory.write(call, start, bytes).map_err(invalid_memory)
}

fn write_u32(call: &mut Call<'_>, ptr: u32, n: u32) -> Reply {
    write(call, ptr, &n.to_le_bytes())
}

fn write_u64(call: &mut Call<'_>, ptr: u32, n: u64) -> Reply {
    write(call, ptr, &n.to_le_bytes())
}

/// Hands bytes over in memory that the module allocates; nothing is allocated for none.
fn give(call: &mut Call<'_>, bytes: &[u8], ptr_out: u32, len_out: u32) -> Reply {
    let ptr = if bytes.is_empty() { 0 } else { allocate(call, bytes)? };
    write_u32(call, ptr_out, ptr)?;
    write_u32(call, len_out, u32::try_from(bytes.len()).map_err(invalid_memory)?)
}

fn allocate(call: &mut Call<'_>, bytes: &[u8]) -> Result<u32, Refusal> {
    let allocate = call.data().allocate.clone().ok_or(Status::InvalidMemoryAccess)?;
    let len = u32::try_from(bytes.len()).map_err(invalid_memory)?;
    let ptr = allocate.call(&mut *call, len)?;
    if ptr == 0 {
        return Err(Status::InvalidMemoryAccess.into());
    }
    write(call, ptr, bytes)?;
    Ok(ptr)
}
