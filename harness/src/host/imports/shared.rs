//! Shared data and queues.

use wasmtime::{Error, Linker};

use super::{Call, Reply, give, host_calls, read, read_text, write_u32};
use crate::host::{abi::Status, event::Event, shared::Owner, state::HostState};

pub(super) fn register(linker: &mut Linker<HostState>) -> Result<(), Error> {
    host_calls! { linker:
        "proxy_get_shared_data" => get(key: u32, key_len: u32, ptr_out: u32, len_out: u32, cas_out: u32);
        "proxy_set_shared_data" => set(key: u32, key_len: u32, value: u32, value_len: u32, cas: u32);
        "proxy_register_shared_queue" => register_queue(name: u32, name_len: u32, token_out: u32);
        "proxy_resolve_shared_queue" => resolve_queue(vm: u32, vm_len: u32, name: u32, name_len: u32, token_out: u32);
        "proxy_enqueue_shared_queue" => enqueue(token: u32, item: u32, item_len: u32);
        "proxy_dequeue_shared_queue" => dequeue(token: u32, ptr_out: u32, len_out: u32);
    }
    Ok(())
}

fn get(call: &mut Call<'_>, key: u32, key_len: u32, ptr_out: u32, len_out: u32, cas_out: u32) -> Reply {
    let key = read(call, key, key_len)?;
    let state = call.data();
    let (value, cas) = state.environment.shared.get(&state.plugin.vm_id, &key).ok_or(Status::NotFound)?;
    give(call, &value, ptr_out, len_out)?;
    write_u32(call, cas_out, cas)
}

fn set(call: &mut Call<'_>, key: u32, key_len: u32, value: u32, value_len: u32, cas: u32) -> Reply {
    let (key, value) = (read(call, key, key_len)?, read(call, value, value_len)?);
    let state = call.data();
    Ok(state.environment.shared.set(&state.plugin.vm_id, &key, &value, cas)?)
}

fn register_queue(call: &mut Call<'_>, name: u32, name_len: u32, token_out: u32) -> Reply {
    let name = read(call, name, name_len)?;
    let state = call.data();
    let owner = Owner { vm: state.vm, root: state.root.id };
    let token = state.environment.shared.register_queue(&state.plugin.vm_id, &name, owner);
    write_u32(call, token_out, token)
}

/// An empty `vm_id` means the module's own.
fn resolve_queue(
    call: &mut Call<'_>,
    vm: u32,
    vm_len: u32,
    name: u32,
    name_len: u32,
    token_out: u32,
) -> Reply {
    let (vm_id, name) = (read_text(call, vm, vm_len)?, read(call, name, name_len)?);
    let state = call.data();
    let vm_id = if vm_id.is_empty() { &state.plugin.vm_id } else { &vm_id };
    let token = state.environment.shared.resolve_queue(vm_id, &name).ok_or(Status::NotFound)?;
    write_u32(call, token_out, token)
}

fn enqueue(call: &mut Call<'_>, token: u32, item: u32, item_len: u32) -> Reply {
    let item = read(call, item, item_len)?;
    let owner = call.data().environment.shared.enqueue(token, item)?;
    call.data_mut().events.push(Event::QueueReady { owner, queue: token });
    Ok(())
}

fn dequeue(call: &mut Call<'_>, token: u32, ptr_out: u32, len_out: u32) -> Reply {
    let item = call.data().environment.shared.dequeue(token)?;
    give(call, &item, ptr_out, len_out)
}
