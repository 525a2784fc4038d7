//! A compiled module, checked as Envoy checks it before any instance exists.

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

use wasmtime::{Config, Engine, ExternType, InstancePre, Linker};

use super::{Cache, imports, state::HostState};

/// The variable that names the folder for compiled modules.
const FOLDER: &str = "ENFORCER_HARNESS_CACHE";

/// A compiled proxy-wasm module. Cloning is free; compiling is not, so load a module once and share it between tests.
#[derive(Clone)]
pub struct Module {
    pub(crate) instance: InstancePre<HostState>,
    pub(crate) metered: bool,
    /// Heartbeats that a call into the module may last.
    pub(crate) beats: Option<u64>,
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module").field("metered", &self.metered).finish_non_exhaustive()
    }
}

/// Why a module cannot be loaded. Envoy refuses the same modules.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot read `{}`: {source}; build the module first", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("not a WebAssembly module: {0:#}")]
    Invalid(wasmtime::Error),
    #[error("missing or unknown proxy-wasm ABI version: export `proxy_abi_version_0_2_1`, as every SDK does")]
    UnknownAbi,
    #[error(
        "the module exports neither `malloc` nor `proxy_on_memory_allocate`: the host cannot hand it any bytes"
    )]
    NoAllocator,
    #[error("the module exports no `memory`")]
    NoMemory,
    #[error("Envoy does not have these imports: {}", .0.join(", "))]
    UnknownImports(Vec<String>),
    #[error("an import has the wrong type: {0:#}")]
    Mismatch(wasmtime::Error),
}

impl Module {
    /// Loads and compiles a `.wasm` file. What came of it is kept in the folder that the variable
    /// `ENFORCER_HARNESS_CACHE` names, if there is one, so that tests in processes of their own compile once.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        Self::kept(&read(path.as_ref())?, false, std::env::var_os(FOLDER))
    }

    /// As [`Module::from_file`], counting instructions: slower, and the same number on every machine.
    pub fn metered(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        Self::kept(&read(path.as_ref())?, true, std::env::var_os(FOLDER))
    }

    /// Compiles a module that is in memory.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LoadError> {
        Self::compile(bytes, false, None)
    }

    /// As [`Module::from_bytes`], for embedders that nothing may hang: a call into the module that lasts for so many
    /// [`Module::beat`]s, plus the one under way, is a trap.
    pub fn guarded(bytes: &[u8], beats: u64) -> Result<Self, LoadError> {
        Self::compile(bytes, false, Some(beats))
    }

    /// A heartbeat, for the instances of a guarded module: to be called at regular times, from any thread.
    pub fn beat(&self) {
        self.instance.module().engine().increment_epoch();
    }

    fn kept(bytes: &[u8], metered: bool, folder: Option<OsString>) -> Result<Self, LoadError> {
        let folder = folder.filter(|folder| !folder.is_empty());
        let Some(cache) = folder.and_then(|folder| Cache::new(folder).ok()) else {
            return Self::compile(bytes, metered, None);
        };
        if let Some(module) = cache.load(bytes, metered, None) {
            return Ok(module);
        }
        let module = Self::compile(bytes, metered, None)?;
        // A folder that cannot be written costs time, and nothing else.
        let _ = cache.put(bytes, &module);
        Ok(module)
    }

    fn compile(bytes: &[u8], metered: bool, beats: Option<u64>) -> Result<Self, LoadError> {
        let engine = Self::engine(metered, beats.is_some())?;
        let module = wasmtime::Module::new(&engine, bytes).map_err(LoadError::Invalid)?;
        Self::link(&module, metered, beats)
    }

    pub(crate) fn engine(metered: bool, guarded: bool) -> Result<Engine, LoadError> {
        let mut config = Config::new();
        config.consume_fuel(metered);
        config.epoch_interruption(guarded);
        Engine::new(&config).map_err(LoadError::Invalid)
    }

    pub(crate) fn link(
        module: &wasmtime::Module,
        metered: bool,
        beats: Option<u64>,
    ) -> Result<Self, LoadError> {
        check_exports(module)?;
        check_imports(module)?;
        let mut linker = Linker::new(module.engine());
        imports::register(&mut linker).map_err(LoadError::Mismatch)?;
        for import in module.imports() {
            if let (true, ExternType::Func(kind)) = (is_wasi(import.module()), import.ty()) {
                imports::wasi_stub(&mut linker, import.module(), import.name(), kind)
                    .map_err(LoadError::Mismatch)?;
            }
        }
        let instance = linker.instantiate_pre(module).map_err(LoadError::Mismatch)?;
        Ok(Self { instance, metered, beats })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    std::fs::read(path).map_err(|source| LoadError::Unreadable { path: path.to_owned(), source })
}

fn is_wasi(module: &str) -> bool {
    matches!(module, "wasi_snapshot_preview1" | "wasi_unstable")
}

fn check_exports(module: &wasmtime::Module) -> Result<(), LoadError> {
    let has = |names: &[&str]| names.iter().any(|name| module.get_export_index(name).is_some());
    if !has(&["proxy_abi_version_0_2_1", "proxy_abi_version_0_2_0"]) {
        return Err(LoadError::UnknownAbi);
    }
    if !has(&["memory"]) {
        return Err(LoadError::NoMemory);
    }
    if !has(&["malloc", "proxy_on_memory_allocate"]) {
        return Err(LoadError::NoAllocator);
    }
    Ok(())
}

fn check_imports(module: &wasmtime::Module) -> Result<(), LoadError> {
    let known = |module: &str, name: &str| {
        if is_wasi(module) {
            imports::is_known_wasi(name)
        } else {
            module == "env" && imports::is_known_env(name)
        }
    };
    let unknown: Vec<_> = module
        .imports()
        .filter(|import| !known(import.module(), import.name()))
        .map(|import| format!("`{}.{}`", import.module(), import.name()))
        .collect();
    if unknown.is_empty() { Ok(()) } else { Err(LoadError::UnknownImports(unknown)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_compiled_is_read_the_next_time() {
        let folder = tempfile::tempdir().unwrap();
        let wasm = wat::parse_str(
            r#"(module (memory (export "memory") 1) (func (export "proxy_abi_version_0_2_1"))
                (func (export "malloc") (param i32) (result i32) (i32.const 0)))"#,
        );
        let load =
            |metered| Module::kept(wasm.as_ref().unwrap(), metered, Some(folder.path().into())).unwrap();
        let files = || std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!((load(false).metered, files()), (false, 1));
        assert_eq!((load(true).metered, files()), (true, 2), "each form is its own");
        let times = || {
            let files = std::fs::read_dir(folder.path()).unwrap();
            files.map(|file| file.unwrap().metadata().unwrap().modified().unwrap()).collect::<Vec<_>>()
        };
        let before = times();
        assert_eq!((load(false).metered, load(true).metered), (false, true));
        assert_eq!(times(), before);
    }
}
