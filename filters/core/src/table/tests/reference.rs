//! The matcher against one that is too simple to be wrong: try every template, keep the most specific.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::string_slice,
    reason = "a panic would fail the test, as it should; all text is ASCII"
)]

use proptest::prelude::*;

use super::*;

/// One segment of a template, ordered by how specific it is: the least comes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// The template ends where the path ends.
    End,
    Literal,
    /// Negative lengths: of the text before the first parameter, of all other text; number of parameters; text.
    Dotted(isize, isize, usize, Vec<String>),
    Parameter,
    /// Negative length of the text before the star.
    Tail(isize),
}

fn negative(length: usize) -> isize {
    -isize::try_from(length).unwrap()
}

fn trimmed(path: &str) -> Vec<&str> {
    let path = path.strip_prefix('/').unwrap();
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() { Vec::new() } else { path.split('/').collect() }
}

/// Whether text that contains parameters matches a segment: every way to split it is tried.
fn glob(pattern: &str, text: &str) -> bool {
    match pattern.strip_prefix('{') {
        Some(parameter) => {
            let rest = parameter.split_once('}').unwrap().1;
            (1..=text.len()).any(|end| glob(rest, &text[end..]))
        }
        None => match (pattern.chars().next(), text.chars().next()) {
            (None, None) => true,
            (Some(a), Some(b)) => a == b && glob(&pattern[1..], &text[1..]),
            _ => false,
        },
    }
}

/// How a template matches a path, segment by segment; `None` if it does not.
fn ranks(template: &[&str], path: &[&str]) -> Option<Vec<Rank>> {
    let (first, rest) = match template.split_first() {
        None => return path.is_empty().then(|| vec![Rank::End]),
        Some(parts) => parts,
    };
    if let Some(prefix) = first.strip_suffix('*') {
        let matches = path.join("/").starts_with(prefix);
        return matches.then(|| vec![Rank::Tail(negative(prefix.len()))]);
    }
    let (segment, below) = path.split_first()?;
    if !glob(first, segment) {
        return None;
    }
    let names = first.matches('{').count();
    let rank = if names == 0 {
        Rank::Literal
    } else if first.starts_with('{') && first.find('}') == Some(first.len() - 1) {
        Rank::Parameter
    } else {
        let prefix = first.find('{').unwrap();
        let text = first.len() - names * "{p}".len() - prefix;
        let texts = first.split("{p}").skip(1).map(str::to_owned).collect();
        Rank::Dotted(negative(prefix), negative(text), names, texts)
    };
    let mut all = vec![rank];
    all.extend(ranks(rest, below)?);
    Some(all)
}

/// What the table should find, as (API, operation).
fn expected(apis: &[Api], host: &str, path: &str, method: &str) -> Found<'static> {
    let hosts = |api: &Api| if api.hosts.is_empty() { vec!["*".to_owned()] } else { api.hosts.clone() };
    let fits = |pattern: &str| match pattern.strip_prefix('*') {
        Some(suffix) => host.ends_with(suffix) && (suffix.is_empty() || host.len() > suffix.len()),
        None => host == pattern,
    };
    let specific = |pattern: &String| (!pattern.contains('*'), pattern.len());
    let Some(host) = apis.iter().flat_map(hosts).filter(|pattern| fits(pattern)).max_by_key(specific) else {
        return Found::NoApi;
    };
    let base = |api: &Api| api.base_path.trim_end_matches('/');
    let under =
        |api: &Api| path.strip_prefix(base(api)).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let of_host = apis.iter().enumerate().filter(|(_, api)| hosts(api).contains(&host) && under(api));
    let Some((index, api)) = of_host.max_by_key(|(_, api)| base(api).len()) else { return Found::NoApi };
    if api.operations.is_empty() {
        return Found::Operation { api: index, operation: None };
    }
    let below = format!("/{}", path[base(api).len()..].trim_start_matches('/'));
    let matching = api.operations.iter().enumerate().filter_map(|(number, (methods, template))| {
        Some((ranks(&trimmed(template), &trimmed(&below))?, number, methods, template))
    });
    let Some(best) = matching.clone().min() else { return Found::NoOperation { api: index } };
    // All operations of that template: the same ranks, and the same text but for the parameters' names.
    let same = |template: &str| trimmed(template) == trimmed(best.3);
    let item: Vec<_> = matching.filter(|(_, _, _, template)| same(template)).collect();
    let named = item.iter().find(|(_, _, methods, _)| methods.iter().any(|m| m == method));
    match named.or_else(|| item.iter().find(|(_, _, methods, _)| methods.is_empty())) {
        Some((_, number, ..)) => Found::Operation { api: index, operation: Some(*number) },
        None => {
            let mut allowed: Vec<&str> =
                item.iter().flat_map(|(_, _, m, _)| m.iter()).map(|m| &*m.clone().leak()).collect();
            allowed.sort_unstable();
            Found::WrongMethod { api: index, allowed }
        }
    }
}

fn template() -> impl Strategy<Value = &'static str> {
    let segment = prop_oneof![
        4 => "[ab]{1,2}",
        2 => Just("{p}".to_owned()),
        1 => "[ab]?\\{p\\}[.a]{1,2}",
        1 => "[ab]\\{p\\}",
        1 => "[ab]?\\{p\\}[.ab]?\\{p\\}[.a]?",
    ];
    let tail = prop_oneof![4 => Just(String::new()), 1 => Just("/".to_owned()), 1 => Just("/*".to_owned()), 1 => "/[ab]{1,2}\\*"];
    (prop::collection::vec(segment, 0..4), tail).prop_map(|(segments, tail)| {
        let path: String = segments.iter().map(|segment| format!("/{segment}")).collect();
        let path = format!("{path}{tail}");
        if path.is_empty() { "/" } else { path.leak() }
    })
}

fn any_api() -> impl Strategy<Value = Api> {
    let host = prop::sample::select(vec!["a.x", "b.x", "*.x", "*.a.x", "*"]);
    let base = prop::sample::select(vec!["/", "/a", "/a/b", "/b/"]);
    let method = prop::sample::select(vec!["GET", "PUT", "POST"]);
    let operation = (prop::collection::btree_set(method, 0..3), template());
    (prop::collection::btree_set(host, 0..3), base, prop::collection::vec(operation, 0..7)).prop_map(
        |(hosts, base_path, operations)| Api {
            hosts: hosts.into_iter().map(str::to_owned).collect(),
            base_path,
            operations: operations
                .into_iter()
                .map(|(methods, path)| (methods.into_iter().map(str::to_owned).collect(), path))
                .collect(),
        },
    )
}

/// Drops what would be refused as a duplicate, so that most random tables can be built.
fn without_duplicates(apis: Vec<Api>) -> Vec<Api> {
    let mut kept: Vec<Api> = Vec::new();
    for mut api in apis {
        let mut seen = std::collections::BTreeSet::new();
        api.operations.retain(|(methods, path)| {
            let keys: Vec<_> =
                if methods.is_empty() { vec![""] } else { methods.iter().map(|m| &**m).collect() };
            let keys: Vec<_> = keys.into_iter().map(|m| (m.to_owned(), trimmed(path).join("/"))).collect();
            let new = keys.iter().all(|key| !seen.contains(key));
            seen.extend(if new { keys } else { Vec::new() });
            new
        });
        kept.push(api);
        if build(&kept).is_err() {
            kept.pop();
        }
    }
    kept
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn agrees_with_the_reference(
        apis in prop::collection::vec(any_api(), 1..6).prop_map(without_duplicates),
        requests in prop::collection::vec(
            (prop::sample::select(vec!["a.x", "b.x", "c.x", "y.a.x", "z", ".x", "x"]),
             "(/[ab][ab.]{0,3}){0,4}/?",
             prop::sample::select(vec!["GET", "PUT", "HEAD"])),
            1..20),
    ) {
        let table = build(&apis).unwrap();
        for (host, path, method) in requests {
            let path = if path.is_empty() { "/".to_owned() } else { path };
            prop_assert_eq!(
                find(&table, host, &path, method),
                expected(&apis, host, &path, method),
                "{} {}{}", method, host, path
            );
        }
    }

    #[test]
    fn any_template_is_taken_or_refused_without_a_panic(template in "[/{}*a%2.;?é]{0,12}", path in "/[a%2F./]{0,12}") {
        let template: &'static str = format!("GET /{template}").leak();
        if let (Ok(table), Ok(path)) = (build(&[api(&[], "/", &[template])]), CanonicalPath::parse(path.as_bytes())) {
            table.find("h", &path, "GET");
        }
    }
}
