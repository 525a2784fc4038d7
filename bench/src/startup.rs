//! What a module costs before the first request: bytes, start-up time, memory of each worker.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use enforcer_testbed::{Envoy, EnvoyBinary};
use serde_json::Value;

use crate::{Result, gateway::LISTENER, goals::Size, load::Requests, process, rows::Id, stats::Summary};

/// More workers than one, for the difference.
const WORKERS: u32 = 4;
/// New connections, so that every worker gets some: Envoy accepts wherever there is time.
const CONNECTIONS: usize = 200;

/// What one configuration costs.
#[derive(Debug)]
pub struct Cost {
    pub id: Id,
    pub label: &'static str,
    /// From the start of the process until it serves, in milliseconds.
    pub start: Summary,
    /// Processor time of Envoy until then, in milliseconds.
    pub start_cpu: Summary,
    /// Memory of its own with one worker, in MB.
    pub memory: f64,
    /// What each further worker adds, in MB.
    pub worker: f64,
}

/// Starts each configuration so often, in turns.
pub fn measure(
    configurations: &[(Id, &'static str, &Value, &Requests)],
    envoy: &EnvoyBinary,
    times: u32,
) -> Result<Vec<Cost>> {
    let mut starts: Vec<Vec<(f64, f64)>> = configurations.iter().map(|_| Vec::new()).collect();
    for _ in 0..times {
        for ((_, _, bootstrap, _), starts) in configurations.iter().zip(&mut starts) {
            let (_, wall, cpu) = start(bootstrap, envoy, 1)?;
            starts.push((wall.as_secs_f64() * 1e3, cpu.as_secs_f64() * 1e3));
        }
    }
    let costs = configurations.iter().zip(starts).map(|((id, label, bootstrap, requests), starts)| {
        let one = memory(bootstrap, requests, envoy, 1)?;
        let several = memory(bootstrap, requests, envoy, WORKERS)?;
        Ok(Cost {
            id: *id,
            label,
            start: Summary::of(starts.iter().map(|(wall, _)| *wall)),
            start_cpu: Summary::of(starts.iter().map(|(_, cpu)| *cpu)),
            memory: one,
            worker: (several - one) / f64::from(WORKERS.saturating_sub(1)),
        })
    });
    costs.collect()
}

fn start(bootstrap: &Value, envoy: &EnvoyBinary, workers: u32) -> Result<(Envoy, Duration, Duration)> {
    let options = envoy.options(bootstrap.to_string()).concurrency(workers).log_level("error");
    let started = Instant::now();
    let envoy = options.start()?;
    let (wall, cpu) = (started.elapsed(), process::cpu(envoy.id())?);
    Ok((envoy, wall, cpu))
}

/// In MB, after every worker has had requests.
fn memory(bootstrap: &Value, requests: &Requests, envoy: &EnvoyBinary, workers: u32) -> Result<f64> {
    let (envoy, ..) = start(bootstrap, envoy, workers)?;
    let client = envoy.client(LISTENER)?;
    for path in requests.paths.iter().cycle().take(CONNECTIONS) {
        client.send(&requests.one(path, true))?;
    }
    Ok(process::anonymous_memory(envoy.id())? / 1e3)
}

/// The sizes of the modules in a folder.
pub fn sizes(modules: &Path) -> Result<Vec<Size>> {
    let goals = [
        ("auth.wasm", "auth.wasm: at most 500 kB", 500_000),
        ("ratelimit.wasm", "ratelimit.wasm: at most 300 kB", 300_000),
        ("analytics.wasm", "analytics.wasm: at most 300 kB", 300_000),
    ];
    goals
        .into_iter()
        .map(|(module, goal, most)| {
            let bytes = std::fs::metadata(modules.join(module))?.len();
            Ok(Size { module, bytes, goal, most })
        })
        .collect()
}
