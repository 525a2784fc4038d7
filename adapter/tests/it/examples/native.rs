//! Limits by Envoy's own filters, in every output that has them.

use super::*;

/// Two requests for each tenant and user, of all Envoys; three for each user, of this one.
const LIMITS: &str = "tiers:
  Two: {quota: {requests: 2, per: 1h}}
  Three: {quota: {requests: 3, per: 1h}}
limits:
  native: true
  service: {url: 'http://127.0.0.1:8081', on_failure: closed}
  policies:
  - {name: tenant, key: [{header: x-tenant}, user], tier: Two, shared: true}
  - {name: user, key: [user], tier: Three}
";

/// What a service was asked: a domain, and the entries of each descriptor.
type Asked = (String, Vec<Vec<(String, String)>>);

impl Example {
    /// The example's settings, with these limits in place of its own.
    fn limit_natively(&self) {
        let file = self.folder.join("enforcer.yaml");
        let text = fs::read_to_string(&file).unwrap();
        let own = |line: &&str| !line.starts_with("tiers:") && !line.starts_with("limits:");
        let kept = text.lines().filter(own).filter(|line| !line.starts_with("  ") || line.contains("jwks"));
        let kept: Vec<&str> = kept.filter(|line| !line.contains("claim_headers")).collect();
        fs::write(file, format!("{}\n{}", kept.join("\n"), self.with_ports(LIMITS))).unwrap();
    }

    pub(super) fn start(&self, file: &str) -> Envoy {
        let options = self.binary.options(self.folder.join(file));
        let envoy = options.current_dir(&self.folder).start().unwrap();
        let (client, started) = (RawClient::new(self.public.address()), std::time::Instant::now());
        // A listener that Envoy reads from a file may come later, and its filters later still.
        while client.send(&Request::get("/v1/pets")).map_or(0, |answer| answer.status) != 401 {
            assert!(started.elapsed() < Duration::from_secs(10), "nobody listens");
            std::thread::sleep(Duration::from_millis(20));
        }
        envoy
    }

    /// A call of this user for a tenant.
    fn call(&self, user: &str, tenant: &str) -> u16 {
        let token = self.issuer.token().claim("sub", user).claim("scope", "read:pets").sign().unwrap();
        self.public(&Request::get("/v1/pets").bearer(&token).header("x-tenant", tenant)).status
    }

    fn asked(&self) -> Vec<Asked> {
        self.limits.received().iter().map(|call| of_request(&call.body)).collect()
    }
}

fn of_request(message: &[u8]) -> Asked {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let entry = |bytes: &[u8]| {
        let mut parts = fields(bytes).map(|field| match field.unwrap() {
            (_, Value::Bytes(bytes)) => text(bytes),
            other => panic!("{other:?}"),
        });
        (parts.next().unwrap(), parts.next().unwrap())
    };
    let mut all = Asked::default();
    for field in fields(message) {
        match field.unwrap() {
            (1, Value::Bytes(domain)) => all.0 = text(domain),
            (2, Value::Bytes(descriptor)) => all.1.push(
                fields(descriptor)
                    .filter_map(|field| match field.unwrap() {
                        (1, Value::Bytes(bytes)) => Some(entry(bytes)),
                        _ => None,
                    })
                    .collect(),
            ),
            _ => {}
        }
    }
    all
}

/// What every output does alike, once its Envoy runs.
fn is_limited(example: &Example) {
    assert_eq!([1, 2, 3].map(|_| example.call("alice", "acme")), [200, 200, 429], "the service has two");
    let pairs = [("policy", "tenant"), ("tier", "Two"), ("header.x-tenant", "acme")];
    let user = ("enforcer_user", "https://idp.example.com alice");
    let expected = pairs.into_iter().chain([user]).map(|(key, value)| (key.to_owned(), value.to_owned()));
    let asked = example.asked();
    assert_eq!(asked[0], ("enforcer".to_owned(), vec![expected.collect()]));
    assert_eq!(asked.len(), 3);
    assert_eq!(example.call("alice", "shop"), 429, "three in this Envoy, whatever the tenant");
    assert_eq!(example.asked().len(), 3, "what is limited here is not asked about");
    assert_eq!(example.public(&Request::get("/v1/pets")).status, 401);
    assert_eq!(example.asked().len(), 3, "nor who is not let in");
}

#[test]
fn a_service_counts_by_our_identity_in_every_output() {
    for target in ["envoy", "envoy-xds"] {
        let Some(example) = Example::new("native-limits") else { return };
        example.limit_natively();
        let said = example.shell(&format!("../../dist/enforcer build petstore.yaml -t {target} -o out"));
        assert!(said.contains("wrote out/envoy.yaml"), "{said}");
        let envoy = example.start("out/envoy.yaml");
        is_limited(&example);
        let stats = envoy.stats().unwrap();
        assert!(stats.keys().all(|name| !name.contains("enforcer.ratelimit")), "no module of ours counts");
    }
}

#[test]
fn a_service_counts_in_an_envoy_that_is_there_already() {
    let Some(example) = Example::new("existing-envoy") else { return };
    example.limit_natively();
    let attach = "../../dist/enforcer attach envoy.yaml petstore.yaml --listener public -o new.yaml";
    let said = example.shell(attach);
    assert!(said.contains("enforcer.attached.global_ratelimit"), "{said}");
    let envoy = example.start("new.yaml");
    is_limited(&example);
    let internal = envoy.client("internal").unwrap();
    assert_eq!([1, 2, 3, 4].map(|_| internal.send(&Request::get("/v1/pets")).unwrap().status), [200; 4]);
    let said =
        example.shell("../../dist/enforcer attach --remove new.yaml -o old.yaml; cmp envoy.yaml old.yaml");
    assert!(!said.contains("differ"), "{said}");
}

#[test]
fn a_service_that_does_not_answer_closes_or_opens() {
    for (on_failure, status) in [("closed", 503), ("open", 200)] {
        let Some(mut example) = Example::new("native-limits") else { return };
        example.limits = GrpcServer::start_on(0, |_| GrpcReply::Status(14)).unwrap();
        example.limit_natively();
        let file = example.folder.join("enforcer.yaml");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace("on_failure: closed", &format!("on_failure: {on_failure}"))).unwrap();
        example.shell("../../dist/enforcer build petstore.yaml -t envoy -o out");
        let _envoy = example.start("out/envoy.yaml");
        assert_eq!(example.call("alice", "acme"), status, "{on_failure}");
        assert_eq!(example.asked().len(), 1);
    }
}
