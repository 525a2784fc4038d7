//! The examples for an Envoy that is there already: what their READMEs say is typed, and what comes out.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
    time::Duration,
};

use enforcer_core::protobuf::{Message, Value, fields};
use enforcer_testbed::{
    EchoBackend, Envoy, EnvoyBinary, GrpcReply, GrpcServer, Issuer, RawClient, Reply, Request, ReservedPort,
    Response,
};

use crate::{envoy::module, folder::ENFORCER};

mod native;

/// An example in its place beside `dist`, with the world that its files speak of, on other ports.
struct Example {
    root: tempfile::TempDir,
    folder: PathBuf,
    binary: EnvoyBinary,
    backend: EchoBackend,
    /// Behind the cluster that has our name by chance.
    other: EchoBackend,
    issuer: Issuer,
    limits: GrpcServer,
    public: ReservedPort,
    internal: ReservedPort,
}

impl Example {
    /// `None` where there is no Envoy or no module.
    fn new(name: &str) -> Option<Self> {
        let (binary, module) = (EnvoyBinary::find_or_skip().unwrap()?, module()?);
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("envoy-examples").join(name);
        for part in [&folder, &root.path().join("dist"), &root.path().join("bin")] {
            fs::create_dir_all(part).unwrap();
        }
        symlink(ENFORCER, root.path().join("dist/enforcer")).unwrap();
        for name in ["analytics.wasm", "auth.wasm", "bundle.wasm", "ratelimit.wasm"] {
            symlink(module.with_file_name(name), root.path().join("dist").join(name)).unwrap();
        }
        symlink(binary.path().canonicalize().unwrap(), root.path().join("bin/envoy")).unwrap();
        let example = Self {
            root,
            folder,
            binary,
            backend: EchoBackend::start().unwrap(),
            other: EchoBackend::start().unwrap(),
            issuer: Issuer::start().unwrap().named("https://idp.example.com"),
            limits: limit_service(2),
            public: ReservedPort::new().unwrap(),
            internal: ReservedPort::new().unwrap(),
        };
        for file in fs::read_dir(source(name)).unwrap() {
            let path = file.unwrap().path();
            let text = example.with_ports(&fs::read_to_string(&path).unwrap());
            fs::write(example.folder.join(path.file_name().unwrap()), text).unwrap();
        }
        Some(example)
    }

    /// The files' ports replaced by those of this test.
    fn with_ports(&self, text: &str) -> String {
        let ports = [
            ("10000", self.public.address()),
            ("10001", self.internal.address()),
            ("3000", self.backend.address()),
            ("3001", self.other.address()),
            ("9000", self.issuer.address()),
            ("8081", self.limits.address()),
        ];
        let mut text = text.to_owned();
        for (old, new) in ports {
            for before in ["port_value: ", "127.0.0.1:", "port: "] {
                // The mark keeps a new port from being taken for an old one.
                text = text.replace(&format!("{before}{old}"), &format!("{before}\0{}", new.port()));
            }
        }
        text.replace('\0', "")
    }

    /// Types what the README says and compares what comes out with what it says. Returns the Envoy that runs.
    fn follow_the_readme(&self) -> Envoy {
        let readme = fs::read_to_string(self.folder.join("README.md")).unwrap();
        let mut envoy = None;
        for (command, expected) in console(&readme) {
            let in_background = command.strip_prefix("envoy -c ").and_then(|rest| rest.strip_suffix(" &"));
            if let Some(arguments) = in_background {
                let file = arguments.split(' ').next().unwrap();
                let options = self.binary.options(self.folder.join(file)).current_dir(&self.folder);
                envoy = Some(options.start().unwrap());
                continue;
            }
            assert_eq!(self.shell(&command), expected, "$ {command}");
        }
        envoy.unwrap()
    }

    /// What a terminal shows of a command.
    fn shell(&self, command: &str) -> String {
        let path = std::env::var("PATH").unwrap();
        let output = Command::new("bash")
            .args(["-c", &format!("exec 2>&1; {command}")])
            .current_dir(&self.folder)
            .env("PATH", format!("{}:{path}", self.root.path().join("bin").display()))
            .env("TOKEN", self.token("read:pets"))
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    fn token(&self, scope: &str) -> String {
        self.issuer.token().claim("sub", "alice").claim("scope", scope).sign().unwrap()
    }

    fn public(&self, request: &Request) -> Response {
        RawClient::new(self.public.address()).send(request).unwrap()
    }
}

/// A rate limit service that has so many hits for whoever asks.
fn limit_service(hits: u64) -> GrpcServer {
    let left = Mutex::new(hits);
    let answer = move |request: &[u8]| {
        let asked = fields(request).find_map(|field| match field {
            Ok((3, Value::Uint(hits))) => Some(hits),
            _ => None,
        });
        let mut left = left.lock().unwrap();
        let rest = left.checked_sub(asked.unwrap_or(1));
        *left = rest.unwrap_or(*left);
        let code = if rest.is_some() { 1 } else { 2 };
        let reset = Message::default().uint(1, 3_600);
        let status = Message::default().uint(1, code).uint(3, *left).bytes(4, reset.as_ref());
        let reply = Message::default().uint(1, code).bytes(2, status.as_ref());
        GrpcReply::Message(reply.into_bytes(), Duration::ZERO)
    };
    GrpcServer::start_on(0, answer).unwrap()
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("envoy-examples").join(name)
}

/// The commands of the `console` blocks, each with the lines that follow it.
fn console(readme: &str) -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in readme.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside) {
            commands.push((command.to_owned(), String::new()));
        } else if let Some((_, output)) = commands.last_mut().filter(|_| inside) {
            output.push_str(line);
            output.push('\n');
        }
    }
    commands
}

#[test]
fn existing_envoy() {
    let Some(example) = Example::new("existing-envoy") else { return };
    let envoy = example.follow_the_readme();
    let read = Request::get("/v1/pets");

    // Their script sees our refusals, too.
    let refused = example.public(&read);
    assert_eq!(refused.headers.get("x-served-by"), Some(&b"pets-gateway"[..]));
    assert!(refused.text().contains("900901"), "{}", refused.text());
    let bad = example.issuer.token().raw_signature("bad").sign().unwrap();
    assert_eq!(example.public(&read.clone().bearer(&bad)).status, 401);
    // What is behind it: the scope of an operation, and nothing that the definition does not know.
    let token = example.token("read:pets");
    assert_eq!(example.public(&Request::new("POST", "/v1/pets").bearer(&token)).status, 403);
    assert_eq!(example.public(&Request::get("/v1/owners").bearer(&token)).status, 404);

    example.backend.clear();
    assert_eq!(example.public(&read.clone().bearer(&token).header("x-user", "mallory")).status, 200);
    let internal = envoy.client("internal").unwrap();
    assert_eq!(internal.send(&read.bearer(&token).header("x-user", "mallory")).unwrap().status, 200);
    let received = example.backend.received();
    let headers = |index: usize| {
        let headers = &received[index].headers;
        (headers.get("x-user").map(<[u8]>::to_vec), headers.contains("authorization"))
    };
    assert_eq!(headers(0), (Some(b"alice".to_vec()), false));
    assert_eq!(headers(1), (Some(b"mallory".to_vec()), true), "the other listener is not untouched");
    assert_eq!(example.issuer.jwks_hits(), 1);
    assert!(example.other.received().is_empty(), "keys were asked for at somebody else's cluster");
}

#[test]
fn rate_limits() {
    let Some(example) = Example::new("rate-limits") else { return };
    let envoy = example.follow_the_readme();
    let read = Request::get("/v1/pets");
    let of = |subject: &str, plan: &str| {
        let token = example.issuer.token().claim("sub", subject).claim("plan", plan).sign().unwrap();
        let answers = (0..5).map(|_| example.public(&read.clone().bearer(&token)).status);
        answers.collect::<Vec<_>>()
    };
    assert_eq!(of("bob", "Trial"), [200, 200, 200, 429, 429]);
    assert_eq!(of("carol", "Gold"), [200; 5], "WSO2's own tiers are there");
    assert_eq!(of("dave", "none of them"), [200, 200, 200, 429, 429]);
    assert_eq!(example.public(&read).status, 401, "who is not let in is not counted");
    let stats = envoy.stats().unwrap();
    assert_eq!(stats["wasmcustom.enforcer.ratelimit.unknown_tier"], 5);
    assert_eq!(stats["wasmcustom.enforcer.ratelimit.refused.blocked"], 1);
}

#[test]
fn filters_that_are_apart_are_discovered_one_by_one() {
    let Some(example) = Example::new("rate-limits") else { return };
    let file = example.folder.join("enforcer.yaml");
    let settings = fs::read_to_string(&file).unwrap();
    fs::write(&file, settings.replace("defaults: {", "defaults: {filters: separate, ")).unwrap();
    let said = example.shell("../../dist/enforcer build petstore.yaml -t envoy-xds -o out");
    assert!(said.contains("out/ecds-auth.yaml") && said.contains("out/ecds-ratelimit.yaml"), "{said}");
    let _envoy = example.start("out/envoy.yaml");
    let token = example.issuer.token().claim("sub", "bob").claim("plan", "Trial").sign().unwrap();
    let read = Request::get("/v1/pets").bearer(&token);
    assert_eq!([1, 2, 3, 4].map(|_| example.public(&read).status), [200, 200, 200, 429]);
}

#[test]
fn llm_tokens() {
    let Some(example) = Example::new("llm-tokens") else { return };
    let usage = r#"{"choices":[],"usage":{"prompt_tokens":20,"total_tokens":60}}"#;
    example.backend.answer(Reply::default().header("content-type", "application/json").body(usage));
    let _envoy = example.follow_the_readme();
    let ask = |subject: &str| {
        let token = example.issuer.token().claim("sub", subject).sign().unwrap();
        example.public(&Request::new("POST", "/v1/chat/completions").bearer(&token)).status
    };
    // Said at the end of a stream, or not at all.
    let stream = |data: &str| Reply::default().header("content-type", "text/event-stream").body(data);
    example.backend.answer(stream(
        "data: {\"usage\":null}\n\ndata: {\"usage\":{\"total_tokens\":99}}\n\ndata: [DONE]\n\n",
    ));
    assert_eq!([ask("bob"), ask("bob"), ask("bob")], [200, 200, 429]);
    example.backend.answer(stream("data: {\"usage\":null}\n\ndata: [DONE]\n\n"));
    assert_eq!([ask("carol"), ask("carol")], [200, 429]);
}

#[test]
fn native_limits() {
    let Some(example) = Example::new("native-limits") else { return };
    let envoy = example.follow_the_readme();
    let read = Request::get("/v1/pets");
    let of = |subject: &str, plan: &str, times: usize| {
        let token = example.issuer.token().claim("sub", subject).claim("plan", plan).sign().unwrap();
        let answers = (0..times).map(|_| example.public(&read.clone().bearer(&token)).status);
        answers.collect::<Vec<_>>()
    };
    assert_eq!(
        of("bob", "a", 3),
        [200, 200, 429],
        "each consumer has a bucket, whose tokens are not those of others"
    );
    assert_eq!(of("carol", "a", 3), [200, 200, 429]);
    let stats = envoy.stats().unwrap();
    assert!(stats.keys().all(|name| !name.contains("enforcer.ratelimit")), "no module of ours counts");
    assert_eq!(stats["enforcer.http_local_rate_limit.rate_limited"], 4);
    assert_eq!(example.public(&read).status, 401, "who is not let in is not counted");
}

#[test]
fn native_limits_of_every_key() {
    let Some(example) = Example::new("native-limits") else { return };
    let settings = fs::read_to_string(example.folder.join("enforcer.yaml")).unwrap();
    let settings = settings.replace("jwks\"}", "jwks\", claims: [plan]}").replace(
        "  - {name: user, key: [user], tier: Two}\n",
        "  - {name: tenant, key: [{header: X-Tenant}], tier: Three}\n  \
           - {name: plan, key: [{claim: plan}], tier: Two}\n  \
           - {name: app, key: [client_ip, api, operation, application, subscription, consumer, user, {constant: a}], tier: Four}\n",
    );
    let tiers = "  Three: {quota: {requests: 3, per: 1h}}\n  Four: {quota: {requests: 4, per: 1h}}\nlimits:";
    fs::write(example.folder.join("enforcer.yaml"), settings.replace("limits:", tiers)).unwrap();
    assert_eq!(
        example.shell("../../dist/enforcer build petstore.yaml -t envoy -o out"),
        "wrote out/envoy.yaml\n"
    );
    let options = example.binary.options(example.folder.join("out/envoy.yaml"));
    let _envoy = options.current_dir(&example.folder).start().unwrap();
    let ask = |path: &str, claims: &[(&str, &str)], tenant: Option<&str>| {
        let token = example.issuer.token();
        let token =
            claims.iter().fold(token, |token, (name, value)| token.claim(name, *value)).sign().unwrap();
        let request = Request::get(path).bearer(&token);
        example
            .public(&tenant.into_iter().fold(request, |request, name| request.header("x-tenant", name)))
            .status
    };
    let pets = |claims: &[(&str, &str)], tenant| ask("/v1/pets", claims, tenant);
    let of = |plan| [("sub", "bob"), ("plan", plan)];
    assert_eq!([1, 2, 3].map(|_| pets(&of("a"), Some("one"))), [200, 200, 429]);
    assert_eq!(pets(&[("sub", "carol"), ("plan", "a")], Some("two")), 429, "it is the plan's");
    assert_eq!(pets(&of("b"), Some("two")), 200);
    let erin = [("sub", "erin")];
    assert_eq!([1, 2, 3].map(|_| pets(&erin, None)), [200, 200, 429], "no plan: by its owner");
    let own = |name| [("sub", name), ("plan", name)];
    assert_eq!(["c", "d"].map(|name| pets(&own(name), None)), [200, 429], "three without a tenant");
    assert_eq!(pets(&own("e"), Some("")), 429, "empty and absent are the same");
    assert_eq!(pets(&own("e"), Some("three")), 200);
    let franks = |name| [("sub", "frank"), ("azp", "app-1"), ("plan", name)];
    let names = ["f1", "f2", "f3", "f4", "f5"];
    assert_eq!(names.map(|name| pets(&franks(name), Some(name))), [200, 200, 200, 200, 429]);
    let reports = ["r1", "r2", "r3"].map(|name| ask("/v1/reports", &own(name), Some(name)));
    assert_eq!(reports, [200, 200, 429], "an operation's tier");
}

#[test]
fn shared_limits() {
    let Some(example) = Example::new("shared-limits") else { return };
    let first = example.follow_the_readme();
    // Another Envoy with the same configuration, but for its port.
    let text = fs::read_to_string(example.folder.join("out/envoy.yaml")).unwrap();
    let (public, internal) = (example.public.address().port(), example.internal.address().port());
    let text = text.replace(&format!("port_value: {public}"), &format!("port_value: {internal}"));
    let second = example.binary.options(text).current_dir(&example.folder).start().unwrap();
    let client = RawClient::new(example.internal.address());
    let request = Request::get("/v1/pets").header("x-tenant", "acme");
    assert_eq!(client.send(&request).unwrap().status, 429, "it is one limit");
    let asked = |envoy: &Envoy| envoy.stats().unwrap()["wasmcustom.enforcer.ratelimit.service.asked"];
    assert_eq!((asked(&first), asked(&second)), (2, 1));
}

#[test]
fn hand_written() {
    let text = |file: &str| fs::read_to_string(source("hand-written").join(file)).unwrap();
    let readme = text("README.md");
    let (_, rest) = readme.split_once("```yaml\n").unwrap();
    let (filter, _) = rest.split_once("```").unwrap();
    assert_eq!(filter.lines().count(), 12);
    let indented: String = filter.lines().map(|line| format!("          {line}\n")).collect();
    assert!(text("envoy.yaml").contains(&indented), "README.md shows another filter than envoy.yaml");

    let Some(example) = Example::new("hand-written") else { return };
    let _envoy = example.follow_the_readme();
    // Every path, every method.
    for method in ["GET", "POST", "DELETE"] {
        assert_eq!(example.public(&Request::new(method, "/some/where?a=b")).status, 401);
        let request = Request::new(method, "/some/where?a=b").bearer(&example.token(""));
        assert_eq!(example.public(&request).status, 200);
    }
    let received = example.backend.received();
    assert!(received.iter().all(|request| !request.headers.contains("authorization")));
}
