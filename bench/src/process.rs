//! What Linux says a process has used.

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use crate::Result;

/// Time that all threads of a process have spent on a processor, in nanoseconds of `/proc/PID/task/*/schedstat`.
pub fn cpu(id: u32) -> Result<Duration> {
    let mut sum = Duration::ZERO;
    for task in fs::read_dir(format!("/proc/{id}/task"))? {
        // A thread may end meanwhile; it took no part in what is measured.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        let nanoseconds = text.split(' ').next().unwrap_or_default().parse()?;
        sum = sum.saturating_add(Duration::from_nanos(nanoseconds));
    }
    if sum.is_zero() {
        return Err("this kernel keeps no times in `/proc/PID/task/TID/schedstat` (CONFIG_SCHED_INFO)".into());
    }
    Ok(sum)
}

/// The processor of the Envoys and of what works for them.
pub const ENVOYS: &str = "0";
/// That of what asks them and of what answers them: neither waits for the other.
pub const AROUND: &str = "1";
/// Any processor.
pub const ANY: &str = "0-1023";

/// Keeps a process, and what it starts from now on, on some processors, with util-linux's `taskset`. Where there is one
/// processor only, that changes nothing.
pub fn keep_on(processors: &str, id: u32) -> Result<()> {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 && processors != ANY {
        return Ok(());
    }
    let mut command = Command::new("taskset");
    let output = command.args(["-a", "-c", "-p", processors, &id.to_string()]).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("`taskset`: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("`taskset` for processor {processors}: {}", String::from_utf8_lossy(&output.stderr)).into())
}

/// Memory in RAM that belongs to the process alone, in kB: `VmRSS` less the pages of its files.
pub fn anonymous_memory(id: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let number = line.and_then(|line| line.split_ascii_whitespace().next());
    Ok(number.ok_or("`/proc/PID/status` has no `RssAnon`")?.parse()?)
}

/// What this machine is: processor, number of processors, kernel.
pub fn machine() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, name)| name);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let virtual_machine = if cpuinfo.contains(" hypervisor") { ", a virtual machine" } else { "" };
    format!("{model}, {processors} processors{virtual_machine}, Linux {}", kernel.trim())
}

/// Processor time that went to other machines on the same hardware since the start, in ticks (`steal`).
pub fn stolen() -> u64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = stat.lines().next().unwrap_or_default();
    first.split_ascii_whitespace().nth(8).and_then(|ticks| ticks.parse().ok()).unwrap_or(0)
}
