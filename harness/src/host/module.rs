//! A compiled module, checked as Envoy checks it before any instance exists.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use wasmtime::{Config, Engine, ExternType, InstancePre, Linker};

use super::{imports, state::HostState};

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
    /// Loads and compiles a `.wasm` file.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        Self::from_bytes(&read(path.as_ref())?)
    }

    /// As [`Module::from_file`], counting instructions: slower, and the same number on every machine.
    pub fn metered(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        Self::compile(&read(path.as_ref())?, true, None)
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
