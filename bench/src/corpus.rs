//! `enforcer build` over definitions that people really publish: how long it takes.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::{Map, Value, json};

use crate::{Result, gateway::Adapter};

/// What was built.
#[derive(Debug, Default)]
pub struct Corpus {
    pub definitions: usize,
    pub built: usize,
    /// Of all that could be built.
    pub total: Duration,
    /// The largest ones: name, size in bytes, time.
    pub large: Vec<(String, u64, Duration)>,
}

/// Builds each definition of `$ENFORCER_CORPORA/openapi/specs` alone; `None` if the variable is not set.
pub fn measure(adapter: &Adapter) -> Result<Option<Corpus>> {
    let Some(folder) = std::env::var_os("ENFORCER_CORPORA").filter(|folder| !folder.is_empty()) else {
        return Ok(None);
    };
    let folder = PathBuf::from(folder).join("openapi/specs");
    let files = fs::read_dir(&folder).map_err(|error| format!("`{}`: {error}", folder.display()))?;
    let mut files: Vec<PathBuf> = files.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.sort();
    let mut corpus = Corpus { definitions: files.len(), ..Corpus::default() };
    for file in files {
        let settings = settings(&file, adapter)?;
        let started = Instant::now();
        let built =
            adapter.run(std::slice::from_ref(&file), &settings, &adapter.folder.join("corpus")).is_ok();
        let taken = started.elapsed();
        if built {
            corpus.built = corpus.built.saturating_add(1);
            corpus.total = corpus.total.saturating_add(taken);
        }
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("large-") {
            corpus.large.push((name, fs::metadata(&file)?.len(), taken));
        }
    }
    Ok(Some(corpus))
}

/// Every scheme that cannot be verified stands for a token, as a user would say after the first run has named them.
fn settings(definition: &Path, adapter: &Adapter) -> Result<PathBuf> {
    let root: Value = serde_json::from_slice(&fs::read(definition)?)?;
    let schemes = root.pointer("/components/securitySchemes").and_then(Value::as_object);
    let schemes = schemes.into_iter().flatten().map(|(name, _)| (name.clone(), json!("jwt")));
    let settings = json!({
        "issuers": [{"issuer": "https://idp.example.com", "jwks": "https://idp.example.com/jwks"}],
        "auth": {"schemes": schemes.collect::<Map<_, _>>()},
        "defaults": {"backend": "https://backend.example.com", "modules": adapter.module},
    });
    let path = adapter.folder.join("corpus.yaml");
    fs::write(&path, settings.to_string())?;
    Ok(path)
}
