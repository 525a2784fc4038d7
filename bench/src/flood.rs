//! What a caller with a good token notices of a flood of tokens that only the VM itself can check.

use std::{path::Path, time::Duration};

use enforcer_testbed::{Alg, EnvoyBinary};
use serde_json::{Value, json};

use crate::{
    Result,
    gateway::{ISSUER, LISTENER, with_auth},
    load::{Load, Requests, Run},
    rows::TEN,
    tokens::Issuer,
};

/// What the caller with the good token asks for, a second.
const HONEST_RATE: f64 = 200.0;

/// One flood, or none.
#[derive(Debug)]
pub struct Flood {
    pub label: &'static str,
    /// What the caller with the good token saw meanwhile.
    pub honest: Run,
    /// Tokens of the flood that were verified, a second.
    pub verified: f64,
    /// Tokens of the flood that were turned away with 503, a second.
    pub refused: f64,
}

/// Each token of the flood is new to the filter, because nothing is remembered.
pub fn measure(
    bootstrap: &Value,
    issuer: &Issuer,
    envoy: &EnvoyBinary,
    oha: &Path,
    (folder, time): (&Path, Duration),
) -> Result<Vec<Flood>> {
    let floods = [
        ("no flood", None, None),
        ("a flood", Some(()), None),
        ("a flood, without a budget", Some(()), Some(1_000_000)),
    ];
    let flooded = floods.into_iter().map(|(label, flood, budget)| {
        let mut set = json!({
            "issuers": [{"issuer": ISSUER, "jwks": {"inline": issuer.jwks(&[Alg::RS256, Alg::PS256])}}],
            "token_cache": "0B",
        });
        if let (Some(budget), Some(set)) = (budget, set.as_object_mut()) {
            set.insert("verification_budget".into(), json!(budget));
        }
        let envoy = envoy.options(with_auth(bootstrap, &set)?.to_string()).log_level("error").start()?;
        let load = |algorithm: Alg| -> Result<Load> {
            let requests = Requests::bearer(TEN.paths(), &issuer.token(algorithm)?);
            Load::new(oha, folder.join(format!("{algorithm:?}.urls")), envoy.listener(LISTENER)?, &requests)
        };
        let (honest, hostile) = (load(Alg::RS256)?, load(Alg::PS256)?);
        let (honest, answered) = std::thread::scope(|scope| {
            let flood =
                flood.map(|()| scope.spawn(|| hostile.statuses(time).map_err(|error| error.to_string())));
            let honest = honest.at_rate(time, HONEST_RATE);
            let answered =
                flood.map(|flood| flood.join().unwrap_or_else(|_| Err("the flood panicked".into())));
            (honest, answered.transpose())
        });
        let answered = answered?.unwrap_or_default();
        let a_second = |status: u16| answered.get(&status).copied().unwrap_or(0.0) / time.as_secs_f64();
        Ok(Flood { label, honest: honest?, verified: a_second(200), refused: a_second(503) })
    });
    flooded.collect()
}
