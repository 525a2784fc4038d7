use std::{fs, path::Path};

use enforcer_adapter::schema;

/// The schemas that are checked in are those of this version. `UPDATE_SCHEMAS=1` writes them.
#[test]
fn schemas_are_up_to_date() {
    for (name, file) in schema::NAMES {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas").join(file);
        let text = schema::schema(name).unwrap();
        if std::env::var_os("UPDATE_SCHEMAS").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let checked_in = fs::read_to_string(&path).unwrap_or_default();
        assert!(checked_in == text, "{file} is out of date: run the tests with UPDATE_SCHEMAS=1");
    }
}
