//! Configurations in every mixture of styles.

use proptest::prelude::*;

use super::{added_lines, round_trip};

/// Values that a rewrite would change.
const VALUES: &[&str] = &[
    "0755",
    "\"1\"",
    "'y'",
    "no",
    "~",
    "1.10",
    "1e3",
    "0x1F",
    "9223372036854775807",
    "18446744073709551616",
    "0.5s",
    "|\n  text\n  # text, too\n",
    ">-\n  folded\n\n  text\n",
    "\"a\n  b\"",
    "[1, {a: b}]",
    "&anchor x",
    "'#'",
    "\"\\u00e9\"",
    "é",
    "{i: \"[\"}",
    "!!str 7",
];

const MANAGER: &str = "\"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

#[derive(Debug, Clone)]
struct Shape {
    /// More spaces before the dashes of lists than before their key.
    deeper: bool,
    /// Comments and blank lines before items.
    between: Vec<u8>,
    /// Values beside the name of each filter before the router; each listener has all.
    filters: Vec<usize>,
    clusters: Option<Vec<usize>>,
    clusters_first: bool,
    trailing: bool,
}

fn shape() -> impl Strategy<Value = Shape> {
    let values = || prop::collection::vec(0..VALUES.len(), 0..4);
    (
        any::<bool>(),
        prop::collection::vec(0_u8..5, 1..6),
        values(),
        prop::option::of(values()),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(deeper, between, filters, clusters, clusters_first, trailing)| Shape {
            deeper,
            between,
            filters,
            clusters,
            clusters_first,
            trailing,
        })
}

impl Shape {
    fn list(&self, key: &str, depth: usize, items: &[String]) -> String {
        let indent = " ".repeat(depth);
        let dash = format!("{indent}{}", if self.deeper { "   " } else { "" });
        if items.is_empty() {
            return format!("{indent}{key}: []\n");
        }
        let mut out = format!("{indent}{key}: # {key}\n");
        for (item, between) in items.iter().zip(self.between.iter().cycle()) {
            out.push_str(&match between {
                0 => format!("{dash}# about the next\n"),
                1 => "\n".to_owned(),
                2 => format!("{dash}    # deeper\n{dash}# about the next\n\n"),
                3 => "# at the margin\n".to_owned(),
                _ => String::new(),
            });
            let mut lines = item.lines();
            out.push_str(&format!("{dash}- {}\n", lines.next().unwrap()));
            lines.for_each(|line| out.push_str(&format!("{dash}  {line}\n")));
        }
        out
    }

    fn values(&self, name: &str, values: &[usize]) -> Vec<String> {
        let item = |(number, value): (usize, &usize)| {
            format!("name: {name}{number}\nvalue: {}", VALUES[*value]).trim_end().to_owned()
        };
        values.iter().enumerate().map(item).collect()
    }

    fn listener(&self, name: &str) -> String {
        let mut filters = self.values("filter", &self.filters);
        filters.push("name: envoy.filters.http.router\nuse: ~".to_owned());
        let manager =
            format!("typed_config:\n  {MANAGER}\n{}  stat_prefix: 1", self.list("http_filters", 2, &filters));
        let chain = self.list("filters", 0, &[manager]);
        format!("name: {name}\n{}", self.list("filter_chains", 0, &[chain.trim_end().to_owned()]))
            .trim_end()
            .to_owned()
    }

    fn text(&self) -> String {
        let listeners = self.list("listeners", 2, &[self.listener("a"), self.listener("b")]);
        let clusters = self.clusters.as_ref();
        let clusters = clusters
            .map(|values| self.list("clusters", 2, &self.values("cluster", values)))
            .unwrap_or_default();
        let resources = if self.clusters_first { clusters + &listeners } else { listeners + &clusters };
        let rest = if self.trailing { "admin: {}\n" } else { "" };
        format!("static_resources:\n{resources}{rest}")
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_else_changes(shape in shape(), both in any::<bool>()) {
        let text = shape.text();
        let listeners = if both { &["a", "b"][..] } else { &["b"] };
        let result = round_trip(&text, listeners);
        if shape.clusters.as_ref().is_none_or(|clusters| !clusters.is_empty()) {
            added_lines(&text, &result);
        }
        prop_assert_eq!(result.matches("vm_id").count(), listeners.len());
    }
}
