//! Logs, time, properties, contexts, metrics.

use std::time::Duration;

use wasmtime::{Error, Linker};

use super::{Call, Reply, give, host_calls, read, read_text, write_u32, write_u64};
use crate::host::{
    abi::{Level, Status},
    property,
    state::HostState,
};

pub(super) fn register(linker: &mut Linker<HostState>) -> Result<(), Error> {
    linker.func_wrap("env", "pthread_equal", |a: u32, b: u32| u32::from(a == b))?;
    linker.func_wrap("env", "emscripten_notify_memory_growth", |_: u32| {})?;
    host_calls! { linker:
        "proxy_log" => log(level: u32, ptr: u32, len: u32);
        "proxy_get_log_level" => get_log_level(level_out: u32);
        "proxy_get_current_time_nanoseconds" => get_time(time_out: u32);
        "proxy_set_tick_period_milliseconds" => set_tick_period(millis: u32);
        "proxy_get_property" => get_property(path: u32, path_len: u32, ptr_out: u32, len_out: u32);
        "proxy_set_property" => set_property(path: u32, path_len: u32, value: u32, value_len: u32);
        "proxy_set_effective_context" => set_effective_context(id: u32);
        "proxy_done" => done();
        "proxy_define_metric" => define_metric(kind: u32, name: u32, name_len: u32, id_out: u32);
        "proxy_increment_metric" => increment_metric(id: u32, by: i64);
        "proxy_record_metric" => record_metric(id: u32, value: u64);
        "proxy_get_metric" => get_metric(id: u32, value_out: u32);
    }
    Ok(())
}

fn log(call: &mut Call<'_>, level: u32, ptr: u32, len: u32) -> Reply {
    let level = Level::from_wire(level).ok_or(Status::BadArgument)?;
    let line = read_text(call, ptr, len)?;
    write_line(call.data(), level, &line);
    Ok(())
}

pub(super) fn write_line(state: &HostState, level: Level, line: &str) {
    let outside = &state.environment.outside;
    if level >= outside.log_level() {
        outside.log(state.vm, level, line);
    }
}

fn get_log_level(call: &mut Call<'_>, level_out: u32) -> Reply {
    let level = call.data().environment.outside.log_level();
    write_u32(call, level_out, level as u32)
}

fn get_time(call: &mut Call<'_>, time_out: u32) -> Reply {
    let now = nanoseconds(call.data().environment.outside.wall_clock());
    write_u64(call, time_out, now)
}

pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn set_tick_period(call: &mut Call<'_>, millis: u32) -> Reply {
    call.data_mut().set_tick_period(Duration::from_millis(millis.into()));
    Ok(())
}

fn get_property(call: &mut Call<'_>, path: u32, path_len: u32, ptr_out: u32, len_out: u32) -> Reply {
    let path = read(call, path, path_len)?;
    let value = property::get(call.data(), &path)?;
    give(call, &value, ptr_out, len_out)
}

fn set_property(call: &mut Call<'_>, path: u32, path_len: u32, value: u32, value_len: u32) -> Reply {
    let (path, value) = (read(call, path, path_len)?, read(call, value, value_len)?);
    let stream = call.data_mut().stream_mut().ok_or(Status::NotFound)?;
    stream.filter_state.insert([property::FILTER_STATE_PREFIX, &path].concat(), value);
    Ok(())
}

fn set_effective_context(call: &mut Call<'_>, id: u32) -> Reply {
    let state = call.data_mut();
    if id != 0 && !state.has_context(id) {
        return Err(Status::BadArgument.into());
    }
    state.effective = id;
    Ok(())
}

/// Only a root context that answered `proxy_on_done` with false has something to finish; plugins are never removed
/// while this host lives.
fn done(_: &mut Call<'_>) -> Reply {
    Err(Status::NotFound.into())
}

fn define_metric(call: &mut Call<'_>, kind: u32, name: u32, name_len: u32, id_out: u32) -> Reply {
    let name = read_text(call, name, name_len)?;
    let state = call.data_mut();
    let id = state.metrics.define(&state.environment.metrics, kind, name)?;
    write_u32(call, id_out, id)
}

fn increment_metric(call: &mut Call<'_>, id: u32, by: i64) -> Reply {
    let state = call.data();
    Ok(state.metrics.increment(&state.environment.metrics, id, by)?)
}

fn record_metric(call: &mut Call<'_>, id: u32, value: u64) -> Reply {
    let state = call.data();
    Ok(state.metrics.record(&state.environment.metrics, id, value)?)
}

fn get_metric(call: &mut Call<'_>, id: u32, value_out: u32) -> Reply {
    let value = call.data().metrics.get(&call.data().environment.metrics, id)?;
    write_u64(call, value_out, value)
}
