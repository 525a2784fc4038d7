//! The path templates of all APIs, as one forest: a tree for each API, a node for each beginning of a template.

use std::{cmp::Reverse, collections::HashMap, iter};

use super::{
    prefixes::Prefixes,
    template::{self, Segment},
};

/// Of a template. Paths are looked up by recursion, and a stack in a VM is small.
const MAX_SEGMENTS: usize = 256;

/// A node of the forest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Node(u32);

/// Nodes are small and side by side; what few of them have lies elsewhere.
#[derive(Debug, Default)]
pub(super) struct Trie {
    nodes: Vec<Branches>,
    /// Every literal segment that occurs in any template, numbered. A segment of a request is hashed once,
    /// and what is not found here matches no literal anywhere.
    texts: HashMap<Box<str>, u32>,
    longest_text: usize,
    /// What a literal segment leads to.
    literals: HashMap<(Node, u32), Node>,
    methods: Vec<Box<str>>,
    operations: Vec<Operation>,
}

#[derive(Debug, Default)]
struct Branches {
    /// First of the operations whose template ends here: an index into [`Trie::operations`].
    operations: Option<u32>,
    parameter: Option<Node>,
    patterns: Option<Box<Patterns>>,
}

#[derive(Debug, Default)]
struct Patterns {
    /// By the text before the first parameter; in the order in which they are tried.
    dotted: Prefixes<Vec<Dotted>>,
    /// By the text before the star.
    tails: Prefixes<Option<Node>>,
}

/// A segment with parameters in it, from behind the text it begins with.
#[derive(Debug)]
struct Dotted {
    /// What follows each parameter; may be empty.
    texts: Vec<Box<str>>,
    node: Node,
}

/// Operations of one template are a linked list: nearly always a handful, and no allocation for each.
#[derive(Debug)]
struct Operation {
    /// Index into [`Trie::methods`]; `None` for all that are not named.
    method: Option<usize>,
    number: usize,
    next: Option<u32>,
}

impl Trie {
    /// Begins the tree of another API.
    pub(super) fn add_root(&mut self) -> Node {
        self.add_node()
    }

    /// The node where a template ends, made if there is none.
    pub(super) fn add_path(&mut self, root: Node, template: &str) -> Result<Node, String> {
        let mut node = root;
        for (depth, segment) in template::segments(template).enumerate() {
            if depth == MAX_SEGMENTS {
                return Err(format!("it has more than {MAX_SEGMENTS} segments"));
            }
            node = match segment? {
                Segment::Literal(text) => self.add_literal(node, &text),
                Segment::Parameter => self.add_parameter(node),
                Segment::Dotted { prefix, texts } => {
                    self.add_dotted(node, &prefix, texts.into_iter().map(Box::from).collect())
                }
                Segment::Tail(prefix) => self.add_tail(node, &prefix),
            };
        }
        Ok(node)
    }

    /// Attaches an operation to a template. An error is the number of the one that has this method already.
    pub(super) fn add_operation(
        &mut self,
        node: Node,
        method: Option<&str>,
        number: usize,
    ) -> Result<(), usize> {
        let method = method.map(|method| self.add_method(method));
        if let Some(earlier) = self.operations_at(node).find(|operation| operation.method == method) {
            return Err(earlier.number);
        }
        let next = self.branches(node).and_then(|branches| branches.operations);
        let index = index(self.operations.len());
        self.operations.push(Operation { method, number, next });
        if let Some(branches) = self.branches_mut(node) {
            branches.operations = Some(index);
        }
        Ok(())
    }

    /// The template that a path matches, as its node. The path has no slash at its ends.
    pub(super) fn find(&self, node: Node, path: &str) -> Option<Node> {
        let branches = self.branches(node)?;
        let patterns = branches.patterns.as_deref();
        if path.is_empty() {
            let all_below = || *patterns?.tails.get("")?;
            return branches.operations.map(|_| node).or_else(all_below);
        }
        let (segment, rest) = path.split_once('/').unwrap_or((path, ""));
        let literal = || self.find(self.literal(node, segment)?, rest);
        let dotted = || {
            let candidates = patterns?.dotted.longest_first(segment, |_| true);
            let mut matching = candidates
                .flat_map(|(dotted, text)| dotted.iter().filter(move |dotted| dotted.matches(text)));
            matching.find_map(|dotted| self.find(dotted.node, rest))
        };
        let parameter = || self.find(branches.parameter?, rest);
        let tail = || *patterns?.tails.longest_first(path, |_| true).next()?.0;
        literal().or_else(dotted).or_else(parameter).or_else(tail)
    }

    /// The operation for a method at the end of a template.
    pub(super) fn operation(&self, node: Node, method: &str) -> Option<usize> {
        let method = self.methods.iter().position(|known| **known == *method);
        let named = self
            .operations_at(node)
            .find(|operation| operation.method.is_some() && operation.method == method);
        let any = || self.operations_at(node).find(|operation| operation.method.is_none());
        named.or_else(any).map(|operation| operation.number)
    }

    /// The methods that a template names, sorted.
    pub(super) fn methods(&self, node: Node) -> impl Iterator<Item = &str> {
        let mut methods: Vec<&str> = Vec::new();
        for operation in self.operations_at(node) {
            let method = operation.method.and_then(|method| self.methods.get(method));
            if let Some(method) = method.map(AsRef::as_ref) {
                // A handful: a sort would be more code than all of them.
                methods.insert(methods.partition_point(|other| *other < method), method);
            }
        }
        methods.into_iter()
    }

    fn operations_at(&self, node: Node) -> impl Iterator<Item = &Operation> {
        let get = |index: u32| self.operations.get(usize::try_from(index).ok()?);
        let first = self.branches(node).and_then(|branches| get(branches.operations?));
        iter::successors(first, move |operation| get(operation.next?))
    }

    fn add_literal(&mut self, node: Node, text: &str) -> Node {
        self.longest_text = self.longest_text.max(text.len());
        let text = match self.texts.get(text) {
            Some(known) => *known,
            None => {
                let new = index(self.texts.len());
                self.texts.insert(text.into(), new);
                new
            }
        };
        if let Some(known) = self.literals.get(&(node, text)) {
            return *known;
        }
        let new = self.add_node();
        self.literals.insert((node, text), new);
        new
    }

    fn literal(&self, node: Node, segment: &str) -> Option<Node> {
        if segment.len() > self.longest_text {
            return None;
        }
        self.literals.get(&(node, *self.texts.get(segment)?)).copied()
    }

    fn add_parameter(&mut self, node: Node) -> Node {
        if let Some(known) = self.branches(node).and_then(|branches| branches.parameter) {
            return known;
        }
        let new = self.add_node();
        if let Some(branches) = self.branches_mut(node) {
            branches.parameter = Some(new);
        }
        new
    }

    fn add_dotted(&mut self, node: Node, prefix: &str, texts: Vec<Box<str>>) -> Node {
        let siblings = self.patterns(node).and_then(|patterns| patterns.dotted.get(prefix));
        if let Some(known) = siblings.into_iter().flatten().find(|sibling| sibling.texts == texts) {
            return known.node;
        }
        let new = Dotted { texts, node: self.add_node() };
        let added = new.node;
        if let Some(patterns) = self.patterns_mut(node) {
            let siblings = patterns.dotted.entry(prefix);
            siblings.insert(siblings.partition_point(|sibling| sibling.rank() < new.rank()), new);
        }
        added
    }

    fn add_tail(&mut self, node: Node, prefix: &str) -> Node {
        if let Some(known) = self.patterns(node).and_then(|patterns| *patterns.tails.get(prefix)?) {
            return known;
        }
        let new = self.add_node();
        if let Some(patterns) = self.patterns_mut(node) {
            *patterns.tails.entry(prefix) = Some(new);
        }
        new
    }

    fn add_method(&mut self, method: &str) -> usize {
        let known = self.methods.iter().position(|known| **known == *method);
        known.unwrap_or_else(|| {
            self.methods.push(method.into());
            self.methods.len().saturating_sub(1)
        })
    }

    fn add_node(&mut self) -> Node {
        let new = Node(index(self.nodes.len()));
        self.nodes.push(Branches::default());
        new
    }

    fn branches(&self, node: Node) -> Option<&Branches> {
        self.nodes.get(usize::try_from(node.0).ok()?)
    }

    fn branches_mut(&mut self, node: Node) -> Option<&mut Branches> {
        self.nodes.get_mut(usize::try_from(node.0).ok()?)
    }

    fn patterns(&self, node: Node) -> Option<&Patterns> {
        self.branches(node)?.patterns.as_deref()
    }

    fn patterns_mut(&mut self, node: Node) -> Option<&mut Patterns> {
        self.branches_mut(node).map(|branches| &mut **branches.patterns.get_or_insert_default())
    }
}

impl Dotted {
    /// The order in which siblings are tried: more literal text, then fewer parameters. What is alike in both
    /// is ordered by its text, so that the order of the configuration never matters.
    fn rank(&self) -> impl Ord {
        let literal = self.texts.iter().map(|text| text.len()).fold(0, usize::saturating_add);
        (Reverse(literal), self.texts.len(), self.texts.clone())
    }

    /// Whether a segment, from behind its literal beginning, is made of parameters and these texts.
    fn matches(&self, segment: &str) -> bool {
        let Some((last, inner)) = self.texts.split_last() else { return false };
        let mut rest = segment;
        for text in inner {
            // The first place is as good as any: it leaves the most for the parameters that follow.
            match behind_parameter(rest, text) {
                Some(behind) => rest = behind,
                None => return false,
            }
        }
        match rest.len().checked_sub(last.len()) {
            Some(end) => end > 0 && rest.ends_with(&**last) && !splits_escape(rest, end),
            None => false,
        }
    }
}

/// What follows a parameter (at least one character) and the nearest `text`.
fn behind_parameter<'a>(segment: &'a str, text: &str) -> Option<&'a str> {
    let mut start = 1;
    loop {
        let place = segment.get(start..)?.find(text)?.checked_add(start)?;
        if !splits_escape(segment, place) {
            return segment.get(place.checked_add(text.len())?..);
        }
        start = place.checked_add(1)?;
    }
}

/// Whether a place lies within a percent-escape: the `2F` of `a%2F` is no text.
fn splits_escape(segment: &str, place: usize) -> bool {
    segment.bytes().take(place).skip(place.saturating_sub(2)).any(|byte| byte == b'%')
}

/// Four thousand million nodes do not fit into a worker's memory, let alone into its configuration.
fn index(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
