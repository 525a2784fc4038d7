//! Compiled modules in a folder: compiling takes a second, reading what came of it a few milliseconds.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rsa::sha2::{Digest as _, Sha256};
use wasmtime::Engine;

use super::Module;

/// What a file begins with: SHA-256 of the rest.
const SUM: usize = 32;

/// Where compiled modules are kept. Files of other versions of wasmtime, for other processors, or that are damaged,
/// are passed over. The folder may be emptied at any time.
///
/// What lies there is run as it is. So a file counts only if it belongs to the user that this process runs as, or to
/// root, and nobody else may write to it.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
    user: u32,
}

impl Cache {
    /// Makes the folder where it is missing.
    pub fn new(folder: impl Into<PathBuf>) -> io::Result<Self> {
        let folder = folder.into();
        fs::create_dir_all(&folder)?;
        // Of this process, whatever it is called: nothing in it is trusted for being there.
        let user = fs::metadata("/proc/self")?.uid();
        Ok(Self { folder, user })
    }

    /// As [`Module::guarded`], if it has been compiled before.
    pub fn get(&self, wasm: &[u8], beats: u64) -> Option<Module> {
        self.load(wasm, false, Some(beats))
    }

    pub(super) fn load(&self, wasm: &[u8], metered: bool, beats: Option<u64>) -> Option<Module> {
        let engine = Module::engine(metered, beats.is_some()).ok()?;
        let compiled = self.read(&self.path(&engine, wasm)).ok()?;
        // SAFETY: wasmtime made these bytes, in a process of ours or of root's: see `read`. It looks itself whether
        // they are of its version and for this processor.
        #[expect(unsafe_code, reason = "compiled code cannot be verified, only where it comes from")]
        let module = unsafe { wasmtime::Module::deserialize(&engine, compiled) }.ok()?;
        Module::link(&module, metered, beats).ok()
    }

    /// Keeps a module that was compiled from these bytes.
    pub fn put(&self, wasm: &[u8], module: &Module) -> io::Result<()> {
        let module = module.instance.module();
        let compiled = module.serialize().map_err(io::Error::other)?;
        let path = self.path(module.engine(), wasm);
        let new = path.with_extension(std::process::id().to_string());
        // Another process may write the same at the same time; each has its own file until it is whole.
        let written = write(&new, &compiled).and_then(|()| fs::rename(&new, &path));
        if written.is_err() {
            let _ = fs::remove_file(&new);
        }
        written
    }

    fn path(&self, engine: &Engine, wasm: &[u8]) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let content: String = Sha256::digest(wasm).iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(format!("{content}-{:016x}.compiled", hasher.finish()))
    }

    /// The compiled module in a file that is whole, and that nobody but us or root can have written.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut file = fs::File::open(path)?;
        // Of what is open, so that it cannot be another file the next moment.
        let about = file.metadata()?;
        if !about.is_file() || !(about.uid() == self.user || about.uid() == 0) || about.mode() & 0o022 != 0 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let mut sum = [0; SUM];
        file.read_exact(&mut sum)?;
        let mut compiled = Vec::new();
        file.read_to_end(&mut compiled)?;
        if *Sha256::digest(&compiled) != sum {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(compiled)
    }
}

fn write(path: &Path, compiled: &[u8]) -> io::Result<()> {
    let _ = fs::remove_file(path);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(&Sha256::digest(compiled))?;
    file.write_all(compiled)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const WASM: &str = r#"(module (memory (export "memory") 1)
        (func (export "proxy_abi_version_0_2_1"))
        (func (export "malloc") (param i32) (result i32) (i32.const 0)))"#;

    /// A folder with a compiled module: its bytes, and the one file.
    fn kept() -> (tempfile::TempDir, Cache, Vec<u8>, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("new")).unwrap();
        let wasm = wat::parse_str(WASM).unwrap();
        assert!(cache.get(&wasm, 1).is_none());
        cache.put(&wasm, &Module::guarded(&wasm, 1).unwrap()).unwrap();
        let files: Vec<_> = fs::read_dir(folder.path().join("new")).unwrap().collect();
        let [file] = <[_; 1]>::try_from(files).unwrap();
        let file = file.unwrap().path();
        (folder, cache, wasm, file)
    }

    #[test]
    fn what_was_compiled_is_found_again() {
        let (_folder, cache, wasm, file) = kept();
        let module = cache.get(&wasm, 7).unwrap();
        assert_eq!((module.metered, module.beats), (false, Some(7)));
        assert!(cache.get(&[wasm, vec![0]].concat(), 7).is_none(), "another module");
        assert_eq!(fs::metadata(file).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_is_damaged_is_passed_over_and_replaced() {
        let (_folder, cache, wasm, file) = kept();
        let whole = fs::read(&file).unwrap();
        let turned: Vec<u8> = whole
            .iter()
            .enumerate()
            .map(|(at, byte)| if at == whole.len() / 2 { !byte } else { *byte })
            .collect();
        let foreign = [Sha256::digest(b"no code").to_vec(), b"no code".to_vec()].concat();
        for broken in [&whole[..whole.len() - 1], &whole[..10], &turned, &foreign, b""] {
            fs::write(&file, broken).unwrap();
            assert!(cache.get(&wasm, 1).is_none());
        }
        cache.put(&wasm, &Module::guarded(&wasm, 1).unwrap()).unwrap();
        assert!(cache.get(&wasm, 1).is_some());
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn what_others_can_have_written_is_not_run() {
        let (_folder, cache, wasm, file) = kept();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o620)).unwrap();
        assert!(cache.get(&wasm, 1).is_none(), "a group may write to it");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(cache.get(&wasm, 1).is_some());
        let owner = fs::metadata(&file).unwrap().uid();
        let other = Cache { user: owner.wrapping_add(1), ..cache };
        assert_eq!(other.get(&wasm, 1).is_some(), owner == 0, "of another user, who is not root");
    }
}
