//! Resources held to what an API server checks of them: the schema of their definition, and its rules in CEL.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use enforcer_adapter::{
    diagnostic::Diagnostics,
    gateway::{Gateway, Input},
    kgateway::{Release, kgateway},
    source::{Source, parse},
};
use kube_cel::{ErrorKind, Validator};
use serde_json::{Map, Value, json};

/// Folders of `ENFORCER_CRDS`.
const GATEWAY_API: &str = "gateway-api-v1.6.1-standard";
pub const V2_3: &str = "kgateway-v2.3.0";
pub const V2_4: &str = "kgateway-v2.4-branchpoint-e1653486";

/// The definitions of a release of kgateway, and of Gateway API.
#[derive(Debug)]
pub struct Definitions {
    folders: [PathBuf; 2],
    rules: Validator,
}

impl Definitions {
    /// `None`, with a printed line, where they are not at hand.
    pub fn of(release: &str) -> Option<Self> {
        let Some(folder) = std::env::var_os("ENFORCER_CRDS").map(PathBuf::from) else {
            println!("skipped: ENFORCER_CRDS is not set");
            return None;
        };
        Some(Self { folders: [release, GATEWAY_API].map(|name| folder.join(name)), rules: Validator::new() })
    }

    /// Nothing is wrong with any of them. How many of each kind were checked; Kubernetes' own have no definition.
    pub fn check(&self, resources: &[Value]) -> BTreeMap<String, usize> {
        let mut checked = BTreeMap::new();
        for resource in resources {
            if let Some(problems) = self.problems(resource) {
                assert_eq!(problems, Vec::<String>::new(), "{resource:#}");
                *checked.entry(kind(resource).to_owned()).or_default() += 1;
            }
        }
        checked
    }

    /// What an API server would say to a resource; `None` where its kind is not defined here.
    pub fn problems(&self, resource: &Value) -> Option<Vec<String>> {
        let schema = self.schema(resource)?;
        let mut closed = schema.clone();
        close(&mut closed);
        let validator = jsonschema::validator_for(&closed).unwrap();
        let of_schema =
            validator.iter_errors(resource).map(|error| format!("{}: {error}", error.instance_path()));
        let broken = self.rules.validate(&schema, resource, None).err();
        // Rules with functions that the library does not have are an API server's alone.
        let of_rules = broken.iter().flat_map(|errors| errors.iter());
        let of_rules = of_rules.filter(|error| error.kind != ErrorKind::UnsupportedReference);
        Some(of_schema.chain(of_rules.map(ToString::to_string)).collect())
    }

    fn schema(&self, resource: &Value) -> Option<Value> {
        let (group, version) = resource["apiVersion"].as_str().unwrap().split_once('/')?;
        let plural = plural(kind(resource));
        let mut files = self.folders.iter().map(|folder| folder.join(format!("{group}_{plural}.yaml")));
        let definition = yaml(&fs::read_to_string(files.find(|file| file.exists())?).unwrap());
        let versions = definition["spec"]["versions"].as_array().unwrap();
        let found = versions.iter().find(|known| known["name"] == version).expect("the version is known");
        Some(found["schema"]["openAPIV3Schema"].clone())
    }
}

/// Unknown fields become errors, as `kubectl apply` has them.
fn close(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    let open = fields.contains_key("additionalProperties")
        || fields.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true));
    if fields.contains_key("properties") && !open {
        fields.insert("additionalProperties".to_owned(), json!(false));
    }
    let properties = fields.get_mut("properties").and_then(Value::as_object_mut);
    properties.into_iter().flat_map(Map::values_mut).for_each(close);
    for name in ["items", "additionalProperties"] {
        fields.get_mut(name).into_iter().for_each(close);
    }
}

pub fn kind(resource: &Value) -> &str {
    resource["kind"].as_str().unwrap()
}

/// As the names of definitions and roles have it.
pub fn plural(kind: &str) -> String {
    let kind = kind.to_lowercase();
    kind.strip_suffix("policy").map_or_else(|| format!("{kind}s"), |stem| format!("{stem}policies"))
}

pub fn yaml(text: &str) -> Value {
    parse(&Source::new("test", text)).unwrap().root.to_json()
}

/// The documents of a file.
pub fn resources(text: &str) -> Vec<Value> {
    text.split("---\n").filter(|document| !document.trim().is_empty()).map(yaml).collect()
}

/// What `enforcer build -t kgateway` writes.
pub fn build(definition: &Path, settings: &Path, release: Release) -> Vec<Value> {
    let input = Input {
        definitions: vec![definition.to_owned()],
        settings: Some(settings.to_owned()),
        development: false,
        routed: true,
        online: false,
    };
    let mut findings = Diagnostics::default();
    let gateway = Gateway::load(&input, &mut findings).expect("the files are right");
    kgateway(&gateway, release).unwrap().iter().flat_map(|(_, text)| resources(text)).collect()
}
