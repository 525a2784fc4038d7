//! envoy-examples/kgateway: rendered, its parts held together, and the requests of its README sent.

#![cfg(test)]

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use enforcer_adapter::{
    diagnostic::Diagnostics,
    envoy::Files,
    gateway::{Gateway, Input},
    kgateway::{Release, kgateway},
    source::{self, parse},
};
use enforcer_extproc::{Bridge, Lines, Modules, Options, Source};
use enforcer_harness::Level;
use enforcer_ratelimit::config::Bodies;
use enforcer_testbed::{EchoBackend, EnvoyBinary, ReservedPort};
use enforcer_tests::kgateway_envoy;
use serde_json::{Value, json};

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../envoy-examples/kgateway").canonicalize().unwrap()
}

fn yaml(text: &str) -> Value {
    parse(&source::Source::new("test", text)).unwrap().root.to_json()
}

/// The documents of a file.
fn resources(text: &str) -> Vec<Value> {
    text.split("---\n").filter(|document| !document.trim().is_empty()).map(yaml).collect()
}

fn kind(resource: &Value) -> &str {
    resource["kind"].as_str().unwrap()
}

/// The only resource of a kind.
fn the<'a>(resources: &'a [Value], of: &str) -> &'a Value {
    let found: Vec<_> = resources.iter().filter(|resource| kind(resource) == of).collect();
    assert_eq!(found.len(), 1, "{of}");
    found[0]
}

/// What `enforcer build -t kgateway` writes.
fn build() -> Files {
    let folder = example();
    let input = Input {
        definitions: vec![folder.join("petstore.yaml")],
        settings: Some(folder.join("enforcer.yaml")),
        development: false,
        routed: true,
        online: false,
    };
    let mut findings = Diagnostics::default();
    let gateway = Gateway::load(&input, &mut findings).expect("the example is right");
    kgateway(&gateway, Release::V2_4).unwrap()
}

/// What a kustomization makes: as `kubectl kustomize` does it, and read here where that is not installed.
fn render(folder: &Path) -> Vec<Value> {
    let kustomization = yaml(&fs::read_to_string(folder.join("kustomization.yaml")).unwrap());
    let listed: Vec<&str> =
        kustomization["resources"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let mut own: Vec<Value> =
        listed.iter().flat_map(|file| resources(&fs::read_to_string(folder.join(file)).unwrap())).collect();
    for resource in own.iter_mut().filter(|resource| kind(resource) != "Namespace") {
        resource["metadata"]["namespace"] = kustomization["namespace"].clone();
    }
    match Command::new("kubectl").arg("kustomize").arg(folder).output() {
        Err(_) => println!("skipped: no kubectl, whose `kustomize` renders {}", folder.display()),
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let rendered = resources(&String::from_utf8(output.stdout).unwrap());
            assert_eq!(names(&rendered), names(&own), "kubectl makes something else of it");
            return rendered;
        }
    }
    own
}

/// Kind, namespace and name of each, sorted.
fn names(resources: &[Value]) -> Vec<Value> {
    let name = |resource: &Value| {
        json!([kind(resource), resource["metadata"]["namespace"], resource["metadata"]["name"]])
    };
    let mut names: Vec<Value> = resources.iter().map(name).collect();
    names.sort_by_key(ToString::to_string);
    names
}

/// In a folder of its own.
fn written() -> tempfile::TempDir {
    let out = tempfile::tempdir().unwrap();
    for (name, text) in build() {
        fs::write(out.path().join(name), text).unwrap();
    }
    out
}

#[test]
fn the_example_renders() {
    let out = written();
    let rendered = render(out.path());
    assert!(rendered.iter().all(|resource| resource["metadata"]["namespace"] == "apis"));
    let kinds: Vec<&str> = rendered.iter().map(kind).collect();
    let position = |kind| kinds.iter().position(|other| *other == kind);
    assert!(position("TrafficPolicy") < position("HTTPRoute"), "policies are applied first: {kinds:?}");
}

/// The names that join the resources are the same on both sides.
#[test]
fn the_parts_of_the_example_fit_together() {
    let out = written();
    let (own, cluster) = (render(out.path()), render(&example().join("cluster")));
    let (deployment, service) = (the(&own, "Deployment"), the(&own, "Service"));
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let port = &service["spec"]["ports"][0];
    assert_eq!(port["appProtocol"], "kubernetes.io/h2c", "Envoy would speak HTTP/1 to it");
    let grpc = container["ports"].as_array().unwrap().iter().find(|own| own["name"] == port["targetPort"]);
    assert_eq!(grpc.unwrap()["containerPort"], container["readinessProbe"]["grpc"]["port"]);
    let named = &the(&own, "GatewayExtension")["spec"]["extProc"]["grpcService"]["backendRef"];
    assert_eq!((&named["name"], &named["port"]), (&service["metadata"]["name"], &port["port"]));
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_eq!(
        (&service["spec"]["selector"], &the(&own, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"]),
        (labels, labels)
    );
    let route = &the(&own, "HTTPRoute")["spec"];
    assert_eq!(route["parentRefs"], json!([{"name": the(&cluster, "Gateway")["metadata"]["name"]}]));
    assert_eq!(route["rules"][0]["backendRefs"][0]["name"], the(&own, "Backend")["metadata"]["name"]);
    let httpbin = the(&cluster, "Service");
    let address = format!("{}.apis.svc.cluster.local", httpbin["metadata"]["name"].as_str().unwrap());
    assert_eq!(
        the(&own, "Backend")["spec"]["static"]["hosts"],
        json!([{"host": address, "port": httpbin["spec"]["ports"][0]["port"]}])
    );
}

/// Every command of the README that needs no cluster, before an Envoy in kgateway's form and the server with the
/// configuration that is in the Secret.
#[test]
fn the_requests_of_the_readme_are_answered_as_it_says() {
    let Some(binary) = EnvoyBinary::find_or_skip().unwrap() else { return };
    let files = build();
    let resources: Vec<Value> = files.iter().flat_map(|(_, text)| resources(text)).collect();
    let backend = EchoBackend::start().unwrap();
    let port = ReservedPort::new().unwrap();
    let server = server(the(&resources, "Secret"), port.address());
    let config = envoy(the(&resources, "HTTPRoute"), backend.address(), server.bridge.address());
    let envoy = binary.options(config.to_string()).start().unwrap();
    let public = envoy.listener("cases").unwrap();

    let readme = fs::read_to_string(example().join("README.md")).unwrap();
    let mut asked = 0;
    for (command, expected) in console(&readme) {
        if command.contains(" build ") {
            let wrote = files.iter().map(|(name, _)| format!("wrote out/{name}\n"));
            assert_eq!(wrote.collect::<String>(), expected, "$ {command}");
            continue;
        }
        let command = command.replace("127.0.0.1:8080", &public.to_string());
        let output = Command::new("bash").args(["-c", &format!("exec 2>&1; {command}")]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected, "$ {command}");
        asked += 1;
    }
    assert_eq!(asked, 2);
    let received = backend.received();
    assert!(!received.is_empty() && received.iter().all(|request| !request.headers.contains("x-api-key")));
    assert_eq!(received[0].path, "/anything/pets");
}

/// The server, and the folder that it reads.
struct Server {
    bridge: Bridge,
    _folder: tempfile::TempDir,
}

/// With the modules of this build in place of the image's.
fn server(secret: &Value, listen: SocketAddr) -> Server {
    let target = env::var("CARGO_TARGET_DIR").map_or_else(|_| "../target".into(), PathBuf::from);
    let modules = target.join("wasm32-wasip1/wasm").canonicalize().expect("no modules; run `make wasm`");
    let text = secret["stringData"]["enforcer.json"].as_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let text = text.replace("/usr/lib/enforcer", modules.to_str().unwrap());
    fs::write(folder.path().join("enforcer.json"), text).unwrap();
    let options = Options {
        listen,
        admin: SocketAddr::from(([127, 0, 0, 1], 0)),
        workers: 1,
        source: Source::Folder(folder.path().to_owned()),
        tls: None,
    };
    let journal = Arc::new(Lines::start(Level::Error).unwrap());
    let bridge = Bridge::start(&options, &Modules::start(None).unwrap(), journal).unwrap();
    Server { bridge, _folder: folder }
}

/// As kgateway would translate the route.
fn envoy(route: &Value, backend: SocketAddr, server: SocketAddr) -> Value {
    let mut config = kgateway_envoy(Bodies::default(), backend, server).unwrap();
    let rule = &route["spec"]["rules"][0];
    let own = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/route_config/virtual_hosts/0/routes/0";
    let own = config.pointer_mut(own).unwrap();
    own["match"] = json!({"path_separated_prefix": rule["matches"][0]["path"]["value"]});
    let rewrite = &rule["filters"][0]["urlRewrite"];
    own["route"]["prefix_rewrite"] = rewrite["path"]["replacePrefixMatch"].clone();
    own["route"]["host_rewrite_literal"] = rewrite["hostname"].clone();
    config
}

/// The commands of the `console` blocks, each with the lines that follow it.
fn console(readme: &str) -> Vec<(String, String)> {
    let blocks = readme.split("```console\n").skip(1).filter_map(|rest| rest.split("```").next());
    let commands = blocks.flat_map(|block| block.split("$ ").skip(1));
    commands
        .filter_map(|command| command.split_once('\n'))
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .collect()
}
