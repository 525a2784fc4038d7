//! WASI preview 1 as far as Envoy offers it: clocks, random bytes, environment and output are real, the rest fails
//! with fixed numbers (`exports.cc` of proxy-wasm-cpp-host).

use wasmtime::{Caller, Error, FuncType, Linker, Val};

use super::{
    Call, Refusal, Reply,
    general::{nanoseconds, write_line},
    read, write, write_u32, write_u64,
};
use crate::host::{abi::Level, state::HostState};

const SUCCESS: u32 = 0;
const EBADF: u32 = 8;
const ENOTDIR: u32 = 20;
const EFAULT: u32 = 21;
const EINVAL: u32 = 28;
const ENOENT: u32 = 44;
const ENOSYS: u32 = 52;
const ENOTSUP: u32 = 58;

/// Most random bytes of one call.
const MAX_RANDOM: u32 = 64 * 1024;

/// What each function that this host does not act upon returns. `None`: depends on the file descriptor.
const STUBS: [(&str, Option<u32>); 31] = [
    ("fd_read", Some(ENOSYS)),
    ("fd_seek", Some(SUCCESS)),
    ("fd_close", Some(SUCCESS)),
    ("fd_fdstat_set_flags", Some(ENOSYS)),
    ("fd_fdstat_set_rights", None),
    ("fd_advise", Some(SUCCESS)),
    ("fd_allocate", None),
    ("fd_datasync", None),
    ("fd_filestat_get", Some(EBADF)),
    ("fd_filestat_set_size", None),
    ("fd_filestat_set_times", None),
    ("fd_pread", Some(ENOSYS)),
    ("fd_pwrite", Some(EBADF)),
    ("fd_readdir", Some(ENOTDIR)),
    ("fd_renumber", Some(EBADF)),
    ("fd_sync", None),
    ("fd_tell", Some(EBADF)),
    ("fd_prestat_get", Some(EBADF)),
    ("fd_prestat_dir_name", Some(ENOSYS)),
    ("path_open", Some(ENOENT)),
    ("path_create_directory", Some(ENOTSUP)),
    ("path_filestat_get", Some(ENOTSUP)),
    ("path_filestat_set_times", Some(ENOTSUP)),
    ("path_link", Some(ENOTSUP)),
    ("path_readlink", Some(ENOTSUP)),
    ("path_remove_directory", Some(ENOTSUP)),
    ("path_rename", Some(ENOTSUP)),
    ("path_symlink", Some(ENOTSUP)),
    ("path_unlink_file", Some(ENOTSUP)),
    ("sock_accept", Some(ENOTSUP)),
    ("sock_recv", Some(ENOTSUP)),
];

const REAL: [&str; 12] = [
    "fd_write",
    "fd_fdstat_get",
    "environ_get",
    "environ_sizes_get",
    "args_get",
    "args_sizes_get",
    "clock_time_get",
    "clock_res_get",
    "random_get",
    "sched_yield",
    "poll_oneoff",
    "proc_exit",
];

/// Whether Envoy offers this function.
pub(crate) fn is_known(name: &str) -> bool {
    REAL.contains(&name) || stubbed(name).is_some()
}

fn stubbed(name: &str) -> Option<Option<u32>> {
    match name {
        "sock_send" | "sock_shutdown" => Some(Some(ENOTSUP)),
        _ => STUBS.iter().find(|(stub, _)| *stub == name).map(|(_, result)| *result),
    }
}

/// Defines a function that only fails, with the type that the module wants; nothing for the real ones.
pub(crate) fn stub(
    linker: &mut Linker<HostState>,
    module: &str,
    name: &str,
    kind: FuncType,
) -> Result<(), Error> {
    let Some(fixed) = stubbed(name) else { return Ok(()) };
    linker.func_new(module, name, kind, move |_, arguments, results| {
        let output = matches!(arguments.first(), Some(Val::I32(1 | 2)));
        let errno = fixed.unwrap_or(if output { SUCCESS } else { EBADF });
        if let Some(result) = results.first_mut() {
            *result = Val::I32(errno.cast_signed());
        }
        Ok(())
    })?;
    Ok(())
}

pub(super) fn register(linker: &mut Linker<HostState>) -> Result<(), Error> {
    for module in ["wasi_snapshot_preview1", "wasi_unstable"] {
        linker.func_wrap(
            module,
            "fd_write",
            |mut call: Call<'_>, fd: u32, iovs: u32, count: u32, written: u32| {
                if fd == 1 || fd == 2 {
                    errno(fd_write(&mut call, fd, iovs, count, written))
                } else {
                    Ok(EBADF)
                }
            },
        )?;
        linker.func_wrap(module, "fd_fdstat_get", |mut call: Call<'_>, fd: u32, out: u32| {
            if fd == 1 || fd == 2 { errno(fd_fdstat_get(&mut call, out)) } else { Ok(EBADF) }
        })?;
        linker.func_wrap(module, "environ_get", |mut call: Call<'_>, array: u32, buffer: u32| {
            errno(environ_get(&mut call, array, buffer))
        })?;
        linker.func_wrap(module, "environ_sizes_get", |mut call: Call<'_>, count: u32, size: u32| {
            errno(environ_sizes_get(&mut call, count, size))
        })?;
        linker.func_wrap(module, "args_get", |_: u32, _: u32| SUCCESS)?;
        linker.func_wrap(module, "args_sizes_get", |mut call: Call<'_>, count: u32, size: u32| {
            errno(write_u32(&mut call, count, 0).and_then(|()| write_u32(&mut call, size, 0)))
        })?;
        linker.func_wrap(
            module,
            "clock_time_get",
            |mut call: Call<'_>, clock: u32, _precision: u64, out: u32| clock_time_get(&mut call, clock, out),
        )?;
        linker.func_wrap(module, "clock_res_get", |mut call: Call<'_>, clock: u32, out: u32| {
            if clock > 1 { Ok(ENOTSUP) } else { errno(write_u64(&mut call, out, 1)) }
        })?;
        linker.func_wrap(module, "random_get", |mut call: Call<'_>, out: u32, len: u32| {
            if len > MAX_RANDOM { Ok(EINVAL) } else { errno(random_get(&mut call, out, len)) }
        })?;
        linker.func_wrap(module, "sched_yield", || SUCCESS)?;
        linker.func_wrap(
            module,
            "poll_oneoff",
            |mut call: Call<'_>, _: u32, _: u32, _: u32, events: u32| errno(write_u32(&mut call, events, 0)),
        )?;
        // Envoy only notes it and returns: what the compiler put behind the call then traps.
        linker.func_wrap(module, "proc_exit", |call: Caller<'_, HostState>, _: u32| {
            write_line(call.data(), Level::Trace, "wasi_unstable proc_exit");
        })?;
    }
    Ok(())
}

fn errno(reply: Reply) -> Result<u32, Error> {
    match reply {
        Ok(()) => Ok(SUCCESS),
        Err(Refusal::Status(_)) => Ok(EFAULT),
        Err(Refusal::Trap(error)) => Err(error),
    }
}

/// Standard output is a log line at info, standard error one at error; a final line feed is dropped.
fn fd_write(call: &mut Call<'_>, fd: u32, iovs: u32, count: u32, written_out: u32) -> Reply {
    let vectors = read(call, iovs, count.saturating_mul(8))?;
    let mut text = Vec::new();
    for vector in vectors.chunks_exact(8) {
        if let ([a, b, c, d], [e, f, g, h]) =
            (vector.get(..4).unwrap_or_default(), vector.get(4..).unwrap_or_default())
        {
            let (ptr, len) = (u32::from_le_bytes([*a, *b, *c, *d]), u32::from_le_bytes([*e, *f, *g, *h]));
            text.extend(read(call, ptr, len)?);
        }
    }
    let written = u32::try_from(text.len()).unwrap_or(u32::MAX);
    if written > 0 {
        let line = text.strip_suffix(b"\n").unwrap_or(&text);
        let level = if fd == 1 { Level::Info } else { Level::Error };
        write_line(call.data(), level, &String::from_utf8_lossy(line));
    }
    write_u32(call, written_out, written)
}

/// All zero but the right to write.
fn fd_fdstat_get(call: &mut Call<'_>, out: u32) -> Reply {
    let mut fdstat = [0; 24];
    if let Some(rights) = fdstat.get_mut(8) {
        *rights = 64;
    }
    write(call, out, &fdstat)
}

fn environment(call: &Call<'_>) -> Vec<Vec<u8>> {
    let variables = call.data().plugin.environment.iter();
    variables.map(|(name, value)| format!("{name}={value}\0").into_bytes()).collect()
}

fn environ_get(call: &mut Call<'_>, mut array: u32, mut buffer: u32) -> Reply {
    for variable in environment(call) {
        write_u32(call, array, buffer)?;
        write(call, buffer, &variable)?;
        buffer = buffer.saturating_add(u32::try_from(variable.len()).unwrap_or(u32::MAX));
        array = array.saturating_add(4);
    }
    Ok(())
}

fn environ_sizes_get(call: &mut Call<'_>, count_out: u32, size_out: u32) -> Reply {
    let variables = environment(call);
    let size =
        variables.iter().fold(0u32, |sum, v| sum.saturating_add(u32::try_from(v.len()).unwrap_or(u32::MAX)));
    write_u32(call, count_out, u32::try_from(variables.len()).unwrap_or(u32::MAX))?;
    write_u32(call, size_out, size)
}

fn clock_time_get(call: &mut Call<'_>, clock: u32, out: u32) -> Result<u32, Error> {
    let outside = &call.data().environment.outside;
    let now = match clock {
        0 => outside.wall_clock(),
        1 => outside.monotonic_clock(),
        _ => return Ok(ENOTSUP),
    };
    errno(write_u64(call, out, nanoseconds(now)))
}

fn random_get(call: &mut Call<'_>, out: u32, len: u32) -> Reply {
    let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
    call.data().environment.outside.random(&mut bytes);
    write(call, out, &bytes)
}
