//! In the words of the JSON Profile of XACML 3.0, version 1.1 (OASIS Standard, 2019).

use serde_json::json;

use super::{Cx, DecisionProblem, Map, Opinion, Question, Value, net, path, text};

/// Identifiers of XACML 3.0, appendix B.
const SUBJECT: &str = "urn:oasis:names:tc:xacml:1.0:subject:subject-id";
const RESOURCE: &str = "urn:oasis:names:tc:xacml:1.0:resource:resource-id";
const ACTION: &str = "urn:oasis:names:tc:xacml:1.0:action:action-id";
/// What XACML has no names for.
const OURS: &str = "urn:enforcer:";

/// Section 4: one request for one decision. What is not known is not said.
pub(super) fn question(question: Question<'_>, cx: &Cx<'_>) -> Value {
    let Question { caller, called, .. } = question;
    let headers = cx.request_headers();
    let mut subject = Category::default();
    subject.add(SUBJECT, &caller.subject);
    subject.add_ours("issuer", &caller.issuer);
    subject.add_ours("consumer", &caller.consumer);
    subject.add_ours("application", &caller.application);
    subject.add_ours("tier", &caller.tier);
    if !caller.scopes.is_empty() {
        subject.push(&format!("{OURS}scope"), &json!(caller.scopes));
    }
    for (name, value) in &caller.claims {
        subject.add_ours(&format!("claim:{name}"), value);
    }
    let mut resource = Category::default();
    resource.add(RESOURCE, &String::from_utf8_lossy(path(headers)));
    resource.add_ours("api", &called.api);
    resource.add_ours("version", &called.version);
    resource.add_ours("operation", &called.operation);
    resource.add_ours("template", &called.template);
    resource.add_ours("host", &text(headers, ":authority"));
    let mut action = Category::default();
    action.add(ACTION, &text(headers, ":method"));
    let mut environment = Category::default();
    let client = net::client(cx.host).map(|address| address.to_string());
    environment.add_ours("client-ip", &client.unwrap_or_default());
    json!({"Request": {
        "AccessSubject": subject.into_json(),
        "Action": action.into_json(),
        "Resource": resource.into_json(),
        "Environment": environment.into_json(),
    }})
}

/// Section 5: one result. Who enforces may let pass what is permitted without an obligation; nobody here could fulfil one
/// (XACML 3.0 section 7.2.2, a PEP that is biased to deny).
pub(super) fn answer(mut members: Map<String, Value>) -> Opinion {
    let Some(Value::Array(results)) = members.remove("Response") else {
        return Err(DecisionProblem::Unreadable);
    };
    let [result] = results.as_slice() else { return Err(DecisionProblem::Unreadable) };
    let obliged = match result.get("Obligations") {
        None => false,
        Some(Value::Array(obligations)) => !obligations.is_empty(),
        Some(_) => true,
    };
    match result.get("Decision").and_then(Value::as_str) {
        Some("Permit") if !obliged => Ok(()),
        Some("Deny" | "NotApplicable") => Err(DecisionProblem::Denied),
        _ => Err(DecisionProblem::Unreadable),
    }
}

/// The attributes of one category.
#[derive(Default)]
struct Category(Vec<Value>);

impl Category {
    /// Nothing is said of what is not known.
    fn add(&mut self, id: &str, value: &str) {
        if !value.is_empty() {
            self.push(id, &value.into());
        }
    }

    fn add_ours(&mut self, name: &str, value: &str) {
        self.add(&format!("{OURS}{name}"), value);
    }

    /// Strings need no data type: it is the default (section 3.3.1).
    fn push(&mut self, id: &str, value: &Value) {
        self.0.push(json!({"AttributeId": id, "Value": value}));
    }

    fn into_json(self) -> Value {
        json!({"Attribute": self.0})
    }
}
