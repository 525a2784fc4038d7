//! `proxy_call_foreign_function`: the functions that Envoy adds to the ABI.

use wasmtime::{Error, Linker};

use super::{
    Call, Refusal, Reply, allocate, host_calls, http::clear_route_cache, read, read_text, write_u32,
};
use crate::host::{abi::Status, crypto, state::HostState};

pub(super) fn register(linker: &mut Linker<HostState>) -> Result<(), Error> {
    host_calls! { linker:
        "proxy_call_foreign_function" => call_foreign_function(name: u32, name_len: u32, arguments: u32,
            arguments_len: u32, ptr_out: u32, len_out: u32);
    }
    Ok(())
}

fn call_foreign_function(
    call: &mut Call<'_>,
    name: u32,
    name_len: u32,
    arguments: u32,
    arguments_len: u32,
    ptr_out: u32,
    len_out: u32,
) -> Reply {
    let name = read_text(call, name, name_len)?;
    let arguments = read(call, arguments, arguments_len)?;
    if call.data().plugin.missing_functions.contains(&name) {
        return Err(Status::NotFound.into());
    }
    let result = match name.as_str() {
        "verify_signature" => crypto::verify_signature(&arguments).map_err(Refusal::from),
        "sign" => crypto::sign(&arguments).map_err(Refusal::from),
        "clear_route_cache" => {
            if let Some(stream) = call.data_mut().stream_mut() {
                clear_route_cache(stream);
            }
            Ok(Vec::new())
        }
        _ => return Err(Status::NotFound.into()),
    };
    // Pointer and length are written even when the function failed: nothing, then.
    let bytes = result.as_deref().unwrap_or_default();
    let ptr = if bytes.is_empty() || ptr_out == 0 { 0 } else { allocate(call, bytes)? };
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    if ptr_out != 0 {
        write_u32(call, ptr_out, ptr)?;
    }
    if len_out != 0 {
        write_u32(call, len_out, len)?;
    }
    result.map(drop)
}
