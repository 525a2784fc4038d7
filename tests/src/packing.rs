//! How filters are packed into modules: behaviour is the same either way.

use serde_json::{Map, Value, json};

use crate::format::CaseFile;

/// The module that holds all filters, and its root id for several as one.
const BUNDLE: &str = "bundle";
const SEVERAL: &str = "enforcer";

/// The bundle's filters, in the order in which requests pass them.
const FILTERS: [&str; 3] = ["auth", "ratelimit", "analytics"];

/// How the filters of a case file are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// As the file says.
    AsWritten,
    /// A filter of a module of its own is the only one of the bundle.
    Bundled,
    /// Each filter of the bundle is a module of its own.
    Separate,
}

/// One module with what it is configured with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Packed {
    pub(crate) module: String,
    pub(crate) root_id: String,
    pub(crate) configuration: Value,
}

impl Packing {
    /// Whether a file is packed otherwise than it is written.
    pub(crate) fn concerns(self, file: &CaseFile) -> bool {
        match self {
            Self::AsWritten => true,
            Self::Bundled => file.module != BUNDLE,
            Self::Separate => file.module == BUNDLE,
        }
    }

    /// The modules that requests pass, in order. The configuration is one of the file's.
    pub(crate) fn pack(self, file: &CaseFile, configuration: Value) -> Vec<Packed> {
        let root_id = file.root_id.as_ref().unwrap_or(&file.module).clone();
        let several = root_id == SEVERAL;
        let one = |module: &str, root_id: String, configuration| {
            vec![Packed { module: module.to_owned(), root_id, configuration }]
        };
        match (self, configuration) {
            (Self::Bundled, configuration) => {
                one(BUNDLE, SEVERAL.to_owned(), Value::Object(Map::from_iter([(root_id, configuration)])))
            }
            (Self::Separate, Value::Object(members)) if several => apart(members),
            (Self::Separate, configuration) => one(&root_id, root_id.clone(), configuration),
            (Self::AsWritten, configuration) => one(&file.module, root_id, configuration),
        }
    }
}

fn apart(mut members: Map<String, Value>) -> Vec<Packed> {
    // What the bundle finds out by itself.
    let identified = members.contains_key("auth");
    if let (true, Some(Value::Object(ratelimit))) = (identified, members.get_mut("ratelimit")) {
        ratelimit.insert("identified".to_owned(), json!(true));
    }
    let filter = |name: &str| {
        let configuration = members.remove(name)?;
        Some(Packed { module: name.to_owned(), root_id: name.to_owned(), configuration })
    };
    FILTERS.into_iter().filter_map(filter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(module: &str) -> CaseFile {
        CaseFile::parse(&format!("about: x\n{module}\nconfiguration: {{}}\ncases: []\n")).unwrap()
    }

    fn packed(packing: Packing, module: &str, configuration: Value) -> Vec<(String, String, Value)> {
        let packed = packing.pack(&file(module), configuration).into_iter();
        packed.map(|one| (one.module, one.root_id, one.configuration)).collect()
    }

    fn expected(module: &str, root_id: &str, configuration: Value) -> (String, String, Value) {
        (module.to_owned(), root_id.to_owned(), configuration)
    }

    #[test]
    fn a_filter_of_its_own_goes_into_the_bundle() {
        let auth = packed(Packing::Bundled, "module: auth", json!({"a": 1}));
        assert_eq!(auth, [expected("bundle", "enforcer", json!({"auth": {"a": 1}}))]);
        assert_eq!(
            packed(Packing::AsWritten, "module: auth", json!([])),
            [expected("auth", "auth", json!([]))]
        );
        assert!(Packing::Bundled.concerns(&file("module: auth")));
        assert!(!Packing::Bundled.concerns(&file("module: bundle\nroot_id: enforcer")));
    }

    #[test]
    fn the_bundle_comes_apart_in_the_order_of_requests() {
        let several = "module: bundle\nroot_id: enforcer";
        let together = json!({"analytics": {"c": 3}, "ratelimit": {"b": 2}, "auth": {"a": 1}});
        let apart = [
            expected("auth", "auth", json!({"a": 1})),
            expected("ratelimit", "ratelimit", json!({"b": 2, "identified": true})),
            expected("analytics", "analytics", json!({"c": 3})),
        ];
        assert_eq!(packed(Packing::Separate, several, together), apart);
        let alone = packed(Packing::Separate, several, json!({"ratelimit": {}}));
        assert_eq!(alone, [expected("ratelimit", "ratelimit", json!({}))]);
        let one = packed(Packing::Separate, "module: bundle\nroot_id: analytics", json!({}));
        assert_eq!(one, [expected("analytics", "analytics", json!({}))]);
        assert!(!Packing::Separate.concerns(&file("module: auth")));
    }
}
