//! Runs all Envoys beside each other and asks each in turn, for a short while and often, so that whatever else the machine
//! does hits all.

use std::{path::Path, time::Duration};

use enforcer_testbed::{Envoy, EnvoyBinary};

use crate::{
    Result,
    gateway::LISTENER,
    load::{Load, Run},
    process,
    rows::{Id, Row},
};

/// How long everything takes.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub rounds: u32,
    pub warm_up: Duration,
    /// One row in one round, saturated.
    pub saturated: Duration,
    /// One row in one round, at 70 % of that.
    pub at_rate: Duration,
    pub rate_rounds: u32,
    /// One flood.
    pub flood: Duration,
    /// Tokens in the rows where each request has another one.
    pub distinct: u32,
}

/// Enough for figures that repeat: about fifteen minutes.
pub const FULL: Plan = Plan {
    rounds: 24,
    warm_up: Duration::from_secs(2),
    saturated: Duration::from_millis(500),
    at_rate: Duration::from_secs(3),
    rate_rounds: 2,
    flood: Duration::from_secs(10),
    distinct: 4_000,
};
/// Enough to see that everything runs: about a minute.
pub const QUICK: Plan = Plan {
    rounds: 2,
    warm_up: Duration::from_millis(300),
    saturated: Duration::from_millis(700),
    at_rate: Duration::from_millis(500),
    rate_rounds: 1,
    flood: Duration::from_secs(1),
    distinct: 300,
};

/// Of what a saturated Envoy answers, for latencies: beyond it, queues are measured.
const UTILISATION: f64 = 0.7;

/// What came of one row.
#[derive(Debug)]
pub struct Measured {
    pub id: Id,
    pub label: &'static str,
    /// Processor time of the whole Envoy process for each request, in microseconds; one figure a round.
    pub cpu: Vec<f64>,
    /// Requests a second when saturated; one figure a round.
    pub saturated: Vec<f64>,
    /// Latencies at 70 % of that.
    pub at_rate: Vec<Run>,
}

struct Runner {
    envoy: Envoy,
    load: Load,
    beside: Option<u32>,
    measured: Measured,
}

/// Starts an Envoy for each row, makes sure that it does what its row says, and runs the plan.
pub fn measure(
    rows: &[Row],
    plan: Plan,
    envoy: &EnvoyBinary,
    oha: &Path,
    folder: &Path,
) -> Result<Vec<Measured>> {
    let mut runners = Vec::new();
    for row in rows {
        let started = start(row, envoy, oha, folder).map_err(|error| format!("{}: {error}", row.label))?;
        runners.push(started);
    }
    let count = plan.rounds.saturating_add(plan.rate_rounds);
    for runner in &runners {
        runner.load.saturate(plan.warm_up)?;
    }
    for round in 1..=plan.rounds {
        eprintln!("round {round} of {count}: saturated");
        // There and back, so that no row always comes after the same one.
        runners.reverse();
        runners.iter_mut().try_for_each(|runner| runner.saturate(plan.saturated))?;
    }
    for round in 1..=plan.rate_rounds {
        eprintln!("round {} of {count}: at 70 %", plan.rounds.saturating_add(round));
        runners.iter_mut().try_for_each(|runner| runner.at_rate(plan.at_rate))?;
    }
    let place = |id| rows.iter().position(|row| row.id == id);
    runners.sort_by_key(|runner| place(runner.measured.id));
    Ok(runners.into_iter().map(|runner| runner.measured).collect())
}

fn start(row: &Row, binary: &EnvoyBinary, oha: &Path, folder: &Path) -> Result<Runner> {
    let envoy = binary.options(row.bootstrap.to_string()).log_level("error").start()?;
    check(row, &envoy)?;
    process::keep_on(process::ENVOYS, envoy.id())?;
    let urls = folder.join(format!("{:?}.urls", row.id));
    let load = Load::new(oha, urls, envoy.listener(LISTENER)?, &row.requests)?;
    let (cpu, saturated, at_rate) = (Vec::new(), Vec::new(), Vec::new());
    let beside = row.beside;
    Ok(Runner {
        envoy,
        load,
        beside,
        measured: Measured { id: row.id, label: row.label, cpu, saturated, at_rate },
    })
}

/// With its credential a request must come through, and without one it must not where tokens are looked at.
fn check(row: &Row, envoy: &Envoy) -> Result<()> {
    let client = envoy.client(LISTENER)?;
    let path = row.requests.paths.first().ok_or("the row makes no requests")?;
    let ask = |path: &str, shown: bool| -> Result<u16> {
        let mut connection = match &row.requests.certificate {
            Some(certificate) => client.connect_tls(Some(certificate).filter(|_| shown))?,
            None => client.connect()?,
        };
        Ok(connection.send(&row.requests.one(path, shown))?.status)
    };
    let with = ask(path, true)?;
    if with != 200 {
        return Err(format!("a request that should come through was answered with {with}").into());
    }
    let bare = path.split('?').next().unwrap_or(path);
    let (without, expected) = (ask(bare, false)?, if row.protects { 401 } else { 200 });
    if without != expected {
        return Err(format!(
            "a request without a credential was answered with {without} instead of {expected}"
        )
        .into());
    }
    Ok(())
}

impl Runner {
    fn saturate(&mut self, time: Duration) -> Result<()> {
        let before = self.cpu()?;
        let run = self.load.saturate(time).map_err(|error| format!("{}: {error}", self.measured.label))?;
        let used = self.cpu()?.saturating_sub(before);
        self.measured.cpu.push(used.as_secs_f64() * 1e6 / run.requests);
        self.measured.saturated.push(run.per_second);
        Ok(())
    }

    /// Of Envoy, and of what works for it.
    fn cpu(&self) -> Result<Duration> {
        let beside = self.beside.map_or(Ok(Duration::ZERO), process::cpu)?;
        Ok(process::cpu(self.envoy.id())?.saturating_add(beside))
    }

    fn at_rate(&mut self, time: Duration) -> Result<()> {
        let rate = crate::stats::Summary::of(self.measured.saturated.iter().copied()).median * UTILISATION;
        self.measured.at_rate.push(self.load.at_rate(time, rate)?);
        Ok(())
    }
}
