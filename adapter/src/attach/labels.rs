//! Labels of the filters' metrics: Envoy cuts them out of names as `stats_config.stats_tags` of the bootstrap say.

use serde_json::{Value, json};

use super::{
    find::field,
    layout::{Edit, Layout},
    not_in_place,
};
use crate::{diagnostic::Diagnostic, source::View};

/// Names of our metrics begin so, and the expressions that cut labels out of them.
const OURS: &str = r"^wasmcustom\.enforcer_";

/// `stats_tags`, and what it is in.
pub(super) struct Labels<'a> {
    root: View<'a>,
    config: Option<View<'a>>,
    list: Option<View<'a>>,
}

impl<'a> Labels<'a> {
    pub(super) fn of(root: View<'a>) -> Self {
        let config = field(root, "stats_config");
        Self { root, config, list: config.and_then(|config| field(config, "stats_tags")) }
    }

    fn items(&self) -> impl Iterator<Item = View<'a>> + use<'a> {
        self.list.into_iter().flat_map(|list| list.items())
    }

    /// Positions of ours.
    pub(super) fn attached(&self) -> Vec<usize> {
        let ours = |tag: &View<'_>| tag.get("regex").and_then(|regex| regex.text()).is_some_and(is_ours);
        self.items().enumerate().filter(|(_, tag)| ours(tag)).map(|(index, _)| index).collect()
    }

    /// Puts tags before those that are there, and makes what is to hold them.
    pub(super) fn insert(&self, text: &str, tags: Option<Value>) -> Result<Option<Edit>, Diagnostic> {
        let Some(tags) = tags else { return Ok(None) };
        let (parent, index, new) = match (self.config, self.list) {
            (_, Some(list)) => (list, 0, tags),
            (Some(config), None) => (config, 0, json!({"stats_tags": tags})),
            // What is first may have the comment above it that is about the whole file.
            (None, None) => {
                let mut entries = self.root.entries();
                let index =
                    entries.position(|(key, _)| matches!(key, "static_resources" | "staticResources"));
                (self.root, index.unwrap_or(0), json!({"stats_config": {"stats_tags": tags}}))
            }
        };
        let edit = Layout::of(text, parent.node).and_then(|layout| layout.insert(index, &new));
        edit.map(Some).ok_or_else(|| not_in_place(parent))
    }

    /// What takes ours out, and each value that is gone then: all that would be left empty goes, too.
    pub(super) fn cut(&self, text: &str) -> Result<Vec<(Edit, View<'a>)>, Diagnostic> {
        let attached = self.attached();
        let (Some(config), Some(list)) = (self.config, self.list) else { return Ok(Vec::new()) };
        if attached.is_empty() {
            return Ok(Vec::new());
        }
        if attached.len() < self.items().count() {
            let layout = Layout::of(text, list.node).ok_or_else(|| not_in_place(list))?;
            let items: Vec<View<'_>> = self.items().collect();
            let cut = |index: &usize| {
                let edit = layout.cut(*index, |other| !attached.contains(&other));
                edit.zip(items.get(*index).copied()).ok_or_else(|| not_in_place(list))
            };
            return attached.iter().map(cut).collect();
        }
        let (parent, child) =
            if config.entries().count() == 1 { (self.root, config) } else { (config, list) };
        let edit = super::cut_entry(text, parent, child).ok_or_else(|| not_in_place(list))?;
        Ok(vec![(edit, child)])
    }
}

fn is_ours(regex: &str) -> bool {
    regex.starts_with(OURS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_are_known() {
        let all = enforcer_analytics::metrics::TAGS.iter().chain(&enforcer_ratelimit::metrics::TAGS);
        assert!(all.clone().count() > 0 && all.into_iter().all(|(_, regex)| is_ours(regex)));
    }
}
