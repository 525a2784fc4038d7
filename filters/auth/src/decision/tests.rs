#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use std::time::Duration;

use enforcer_core::{
    cx::{HttpReply, Messages, Wishes},
    native::NativeHost,
};

use serde_json::json;

use super::*;

fn opa(more: &Value) -> Result<Point, ConfigError> {
    let mut config = json!({"cluster": "opa", "url": "http://opa:8181/v1/data/gateway/allow"});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let sources = [TokenSource::Cookie("session".to_owned())];
    let secret = ["x-internal".to_owned()].into_iter();
    Point::opa(serde_json::from_value(config).unwrap(), sources.iter(), secret)
}

/// What is asked about a request of this subject; or the advice.
fn advise(
    point: &mut Point,
    subject: &str,
    heard: Option<Opinion>,
    host: &NativeHost,
) -> Result<Opinion, Value> {
    let headers = [
        (":method", "GET"),
        (":path", "/pets/7?key=secret"),
        (":authority", "api.example.com"),
        ("authorization", "Bearer secret"),
        ("cookie", "session=secret"),
        ("x-internal", "secret"),
        ("x-tenant", "acme"),
    ];
    let (messages, mut wishes) = (Messages::of_request(headers.into_iter().collect()), Wishes::default());
    let caller = Caller { subject: subject.to_owned(), ..Caller::default() };
    let called =
        Called { api: "Petstore".to_owned(), template: "/pets/{id}".to_owned(), ..Called::default() };
    let question = Question { caller: &caller, called: &called, api: None, token: Some(b"a.b.c") };
    match point.advise(question, heard, &Cx::new(host, &messages, &mut wishes)) {
        Advice::Decided(opinion) => Ok(opinion),
        Advice::Ask(call) => Err(serde_json::from_slice(&call.body).unwrap()),
    }
}

#[test]
fn a_question_has_no_credentials_in_it() {
    let host = NativeHost::new().with_attribute("source.address", "192.0.2.7:80");
    let asked = advise(&mut opa(&json!({})).unwrap(), "alice", None, &host).unwrap_err();
    let expected = json!({"input": {
        "transportHeaders": {"x-tenant": "acme"},
        "requestOrigin": "192.0.2.7",
        "method": "GET",
        "path": "/pets/7",
        "apiContext": {"apiName": "Petstore", "apiVersion": "", "vhost": "api.example.com", "basePath": "", "pathTemplate": "/pets/{id}"},
        "caller": {"subject": "alice"},
    }});
    assert_eq!(asked, expected);
    let asked = advise(&mut opa(&json!({"send_token": true})).unwrap(), "alice", None, &host).unwrap_err();
    assert_eq!(asked["input"]["authenticationContext"], json!({"token": "a.b.c", "tokenType": "JWT"}));
}

#[test]
fn an_answer_holds_for_its_key_and_its_time() {
    let (mut opa, host) = (
        opa(&json!({"cache_key": ["subject", {"header": "x-tenant"}], "max_age": "10s"})).unwrap(),
        NativeHost::new(),
    );
    assert!(advise(&mut opa, "alice", None, &host).is_err());
    assert_eq!(advise(&mut opa, "alice", Some(Ok(())), &host), Ok(Ok(())));
    assert_eq!(advise(&mut opa, "alice", None, &host), Ok(Ok(())));
    assert_eq!(
        advise(&mut opa, "bob", Some(Err(DecisionProblem::Denied)), &host),
        Ok(Err(DecisionProblem::Denied))
    );
    assert_eq!(advise(&mut opa, "bob", None, &host), Ok(Err(DecisionProblem::Denied)));
    for problem in [DecisionProblem::Unavailable, DecisionProblem::Unreadable] {
        assert_eq!(advise(&mut opa, "carol", Some(Err(problem)), &host), Ok(Err(problem)));
        assert!(advise(&mut opa, "carol", None, &host).is_err(), "no answer is not remembered");
    }
    host.advance(Duration::from_secs(10));
    assert!(advise(&mut opa, "alice", None, &host).is_err());
}

/// The answers are those of OPA's documentation, "Get a Document (with Input)".
#[test]
fn only_true_is_a_yes() {
    let point = opa(&json!({})).unwrap();
    let read = |status: u16, body: &str| {
        let reply = HttpReply { status, headers: [("a", "b")].into_iter().collect(), body: body.into() };
        point.read(&[Some(Ok(CalloutReply::Http(reply)))])
    };
    assert_eq!(read(200, r#"{"result": true}"#), Ok(()));
    assert_eq!(read(200, r#"{"decision_id": "1", "result": true, "metrics": {}}"#), Ok(()));
    assert_eq!(read(200, r#"{"result": false}"#), Err(DecisionProblem::Denied));
    for other in [
        r#"{}"#,
        r#"{"result": "true"}"#,
        r#"{"result": {"allow": true}}"#,
        r#"{"result": 1}"#,
        "true",
        "",
        r#"{"result": true, "result": false}"#,
    ] {
        assert_eq!(read(200, other), Err(DecisionProblem::Unreadable), "{other}");
    }
    assert_eq!(read(404, r#"{"result": true}"#), Err(DecisionProblem::Unavailable));
    assert_eq!(point.read(&[Some(Err(CalloutError::Reset))]), Err(DecisionProblem::Unavailable));
    assert_eq!(point.read(&[None]), Err(DecisionProblem::Unavailable));
}

#[test]
fn what_cannot_be_is_refused() {
    let problem = |more: Value| opa(&more).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(problem(json!({"url": "opa"})).starts_with("url: `opa` is not"));
    assert!(problem(json!({"timeout": "0s"})).starts_with("timeout: zero"));
}

fn xacml(more: &Value) -> Result<Point, ConfigError> {
    let mut config = json!({"cluster": "pdp", "url": "https://pdp:9443/pdp"});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Point::xacml(serde_json::from_value(config).unwrap())
}

/// The form of the request in section 8.1 of the profile: a category has a list of attributes, each with an id and a value.
#[test]
fn a_request_of_xacml_says_who_does_what() {
    let host = NativeHost::new().with_attribute("source.address", "192.0.2.7:80");
    let asked = advise(&mut xacml(&json!({})).unwrap(), "alice", None, &host).unwrap_err();
    let attribute = |id: &str, value: &str| json!({"AttributeId": id, "Value": value});
    let expected = json!({"Request": {
        "AccessSubject": {"Attribute": [attribute("urn:oasis:names:tc:xacml:1.0:subject:subject-id", "alice")]},
        "Action": {"Attribute": [attribute("urn:oasis:names:tc:xacml:1.0:action:action-id", "GET")]},
        "Resource": {"Attribute": [
            attribute("urn:oasis:names:tc:xacml:1.0:resource:resource-id", "/pets/7"),
            attribute("urn:enforcer:api", "Petstore"),
            attribute("urn:enforcer:template", "/pets/{id}"),
            attribute("urn:enforcer:host", "api.example.com"),
        ]},
        "Environment": {"Attribute": [attribute("urn:enforcer:client-ip", "192.0.2.7")]},
    }});
    assert_eq!(asked, expected);
    assert!(!asked.to_string().contains("secret"));
}

/// Section 8.2 of the profile has the first of these; sections 5.2 and 5.3 what a result consists of.
#[test]
fn only_a_permit_that_obliges_to_nothing_is_a_yes() {
    let point = xacml(&json!({})).unwrap();
    let read = |body: &str| {
        let reply = HttpReply { status: 200, headers: [("a", "b")].into_iter().collect(), body: body.into() };
        point.read(&[Some(Ok(CalloutReply::Http(reply)))])
    };
    assert_eq!(read(r#"{"Response": [{"Decision": "Permit"}]}"#), Ok(()));
    let ok = r#"{"Response": [{"Decision": "Permit", "Status": {"StatusCode": {"Value": "urn:oasis:names:tc:xacml:1.0:status:ok"}},
                 "Obligations": [], "AssociatedAdvice": [{"Id": "a", "AttributeAssignment": []}]}]}"#;
    assert_eq!(read(ok), Ok(()));
    for decision in ["Deny", "NotApplicable"] {
        let body = format!(r#"{{"Response": [{{"Decision": "{decision}"}}]}}"#);
        assert_eq!(read(&body), Err(DecisionProblem::Denied), "{decision}");
    }
    for other in [
        r#"{"Response": [{"Decision": "Indeterminate", "Status": {"StatusCode": {"Value": "urn:oasis:names:tc:xacml:1.0:status:missing-attribute"}}}]}"#,
        r#"{"Response": [{"Decision": "Permit", "Obligations": [{"Id": "log"}]}]}"#,
        r#"{"Response": [{"Decision": "Permit", "Obligations": {"Id": "log"}}]}"#,
        r#"{"Response": [{"Decision": "Permit"}, {"Decision": "Deny"}]}"#,
        r#"{"Response": [{"Decision": "permit"}]}"#,
        r#"{"Response": [{"Decision": true}]}"#,
        r#"{"Response": {"Decision": "Permit"}}"#,
        r#"{"Response": []}"#,
        r#"{"Decision": "Permit"}"#,
        r#"{"Response": [{"Decision": "Permit"}], "Response": [{"Decision": "Deny"}]}"#,
        "[]",
        "",
    ] {
        assert_eq!(read(other), Err(DecisionProblem::Unreadable), "{other}");
    }
}
