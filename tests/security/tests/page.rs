//! The tables of docs/security.md, which tests write.

use std::{env, fs, path::PathBuf};

/// Holds the part of the page between `<!-- NAME -->` and `<!-- end -->` to what a test found out. With `UPDATE=1` in
/// the environment the page is rewritten.
pub(crate) fn keep_true(name: &str, found: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/security.md");
    // Other tests keep other parts, perhaps in other processes.
    let lock = fs::File::create(env::temp_dir().join("enforcer-security-page.lock")).unwrap();
    lock.lock().unwrap();
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(&format!("<!-- {name} -->\n")).unwrap();
    let (written, after) = rest.split_once("<!-- end -->").unwrap();
    if written == found {
        return;
    }
    let refresh = "UPDATE=1 cargo test -p enforcer-security-tests --test security";
    assert!(
        env::var_os("UPDATE").is_some(),
        "the table `{name}` of docs/security.md is stale: run `{refresh}`, and read what changed. It should be\n{found}"
    );
    fs::write(path, format!("{before}<!-- {name} -->\n{found}<!-- end -->{after}")).unwrap();
}
