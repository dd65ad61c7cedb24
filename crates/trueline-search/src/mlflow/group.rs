//! Tokens to clauses, grouped as sqlparse groups them. Only the passes that can change what MLflow sees of a filter are
//! here: what lies inside parentheses, for one, is only ever read back as text.

use super::lexer::{Kind, Token};

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Token(Kind),
    Identifier,
    Comparison,
    Parenthesis,
    Brackets,
    Function,
    Operation,
    Assignment,
    List,
    Comment,
    Where,
}

/// A token or a group of them, with the bytes it covers.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) shape: Shape,
    pub(super) start: usize,
    pub(super) end: usize,
    /// The members of a comparison, spaces left out; empty for all else.
    pub(super) parts: Vec<Node>,
}

impl Node {
    fn is(&self, kind: Kind) -> bool {
        self.shape == Shape::Token(kind)
    }

    fn is_any(&self, kinds: &[Kind]) -> bool {
        kinds.iter().any(|kind| self.is(*kind))
    }

    fn is_shape(&self, shapes: &[Shape]) -> bool {
        shapes.contains(&self.shape)
    }

    fn is_group(&self) -> bool {
        !matches!(self.shape, Shape::Token(_))
    }

    pub(super) fn is_space(&self) -> bool {
        self.is_any(&[Kind::Space, Kind::Newline])
    }

    pub(super) fn text<'t>(&self, text: &'t str) -> &'t str {
        &text[self.start..self.end]
    }

    /// Whether it is this reserved word, regardless of case.
    pub(super) fn is_keyword(&self, text: &str, word: &str) -> bool {
        self.is(Kind::Keyword) && self.text(text).eq_ignore_ascii_case(word)
    }

    /// Whether it is exactly this punctuation or operator.
    fn is_mark(&self, text: &str, kind: Kind, mark: &str) -> bool {
        self.is(kind) && self.text(text) == mark
    }
}

/// Splits tokens into statements, at a semicolon outside parentheses or a `GO`; one that is blank is dropped.
pub(super) fn statements(text: &str, tokens: &[Token]) -> Vec<Vec<Node>> {
    let mut statements = Vec::new();
    let mut current: Vec<Node> = Vec::new();
    let (mut depth, mut ended) = (0_i64, false);
    for token in tokens {
        let line_comment = token.kind == Kind::Comment && !text[token.start..].starts_with("/*");
        if ended && token.kind != Kind::Space && !line_comment {
            statements.push(std::mem::take(&mut current));
            (depth, ended) = (0, false);
        }
        let word = &text[token.start..token.end];
        current.push(Node {
            shape: Shape::Token(token.kind),
            start: token.start,
            end: token.end,
            parts: Vec::new(),
        });
        match (token.kind, word) {
            (Kind::Punctuation, "(") => depth += 1,
            (Kind::Punctuation, ")") => depth -= 1,
            (Kind::Punctuation, ";") => ended = depth <= 0,
            (Kind::Keyword, word) if word.eq_ignore_ascii_case("END") => depth -= 1,
            (Kind::Keyword, "GO") => ended = true,
            _ => {}
        }
    }
    if !current.iter().all(Node::is_space) {
        statements.push(current);
    }
    statements
}

/// Groups one statement, pass by pass in sqlparse's order.
pub(super) fn group(text: &str, nodes: &[Node]) -> Vec<Node> {
    let nodes = group_comments(nodes);
    let nodes = group_pairs(text, nodes, Shape::Brackets, "[", "]");
    let nodes = group_pairs(text, nodes, Shape::Parenthesis, "(", ")");
    let nodes = group_functions(nodes);
    let nodes = group_where(text, nodes);
    let nodes = group_members(text, &nodes);
    let nodes = group_arrays(&nodes);
    let nodes = group_names(nodes);
    let nodes = group_order(nodes);
    let nodes = group_casts(text, &nodes);
    let nodes = group_operations(text, &nodes);
    let nodes = group_comparisons(text, &nodes);
    let nodes = group_as(text, &nodes);
    let nodes = group_aliases(nodes);
    let nodes = group_assignments(&nodes);
    let nodes = align_comments(nodes);
    group_lists(text, &nodes)
}

/// Replaces everything from `from` by one group. A group of the same shape that stands first is extended, if so wished.
fn fold(nodes: &mut Vec<Node>, from: usize, shape: Shape, extend: bool) {
    let members = nodes.split_off(from);
    let (Some(first), Some(last)) = (members.first(), members.last()) else { return };
    let (start, end) = (first.start, last.end);
    let mut parts = Vec::new();
    if shape == Shape::Comparison {
        for member in members.into_iter().filter(|node| !node.is_space()) {
            if extend && parts.is_empty() && member.shape == shape {
                parts = member.parts;
            } else {
                // Of a comparison within a comparison only the text is asked; this keeps the tree flat.
                parts.push(Node { parts: Vec::new(), ..member });
            }
        }
    }
    nodes.push(Node { shape, start, end, parts });
}

/// One pass that joins `left middle right`.
struct Infix<'r> {
    shape: Shape,
    extend: bool,
    middle: &'r dyn Fn(&Node) -> bool,
    left: &'r dyn Fn(&Node) -> bool,
    right: &'r dyn Fn(Option<&Node>) -> bool,
    /// Whether the right side is taken into the group, given that the join happens.
    takes_right: &'r dyn Fn(Option<&Node>) -> bool,
}

impl Infix<'_> {
    fn apply(&self, nodes: &[Node]) -> Vec<Node> {
        let mut out: Vec<Node> = Vec::with_capacity(nodes.len());
        // Where the last solid node lies in `out`, and what it was before it was folded.
        let mut last: Option<(usize, Node)> = None;
        let mut at = 0;
        while at < nodes.len() {
            let node = &nodes[at];
            if node.is_space() {
                out.push(node.clone());
                at += 1;
                continue;
            }
            if (self.middle)(node) {
                let next = (at + 1..nodes.len()).find(|i| !nodes[*i].is_space());
                let right = next.map(|i| &nodes[i]);
                if let Some((from, left)) = &last
                    && (self.left)(left)
                    && (self.right)(right)
                {
                    let from = *from;
                    let until = next.filter(|_| (self.takes_right)(right)).unwrap_or(at);
                    out.extend(nodes[at..=until].iter().cloned());
                    fold(&mut out, from, self.shape, self.extend);
                    let seen = if until > at { nodes[until].clone() } else { out[from].clone() };
                    last = Some((from, seen));
                    at = until + 1;
                    continue;
                }
            }
            last = Some((out.len(), node.clone()));
            out.push(node.clone());
            at += 1;
        }
        out
    }
}

/// Where the last node that is no space lies.
fn last_solid(nodes: &[Node]) -> Option<usize> {
    nodes.iter().rposition(|node| !node.is_space())
}

fn group_comments(nodes: &[Node]) -> Vec<Node> {
    let mut out = Vec::with_capacity(nodes.len());
    let mut at = 0;
    while at < nodes.len() {
        let end = (at..nodes.len()).find(|i| !nodes[*i].is_any(&[Kind::Comment, Kind::Newline]));
        let Some(end) = end.filter(|_| nodes[at].is(Kind::Comment)) else {
            // A comment that runs to the end stays a bare token.
            if nodes[at].is(Kind::Comment) {
                out.extend(nodes[at..].iter().cloned());
                return out;
            }
            out.push(nodes[at].clone());
            at += 1;
            continue;
        };
        let from = out.len();
        out.extend(nodes[at..end].iter().cloned());
        fold(&mut out, from, Shape::Comment, false);
        at = end;
    }
    out
}

fn group_pairs(text: &str, nodes: Vec<Node>, shape: Shape, open: &str, close: &str) -> Vec<Node> {
    let mut out = Vec::with_capacity(nodes.len());
    let mut opens = Vec::new();
    for node in nodes {
        let opening = node.is_mark(text, Kind::Punctuation, open);
        let closing = node.is_mark(text, Kind::Punctuation, close);
        if opening {
            opens.push(out.len());
        }
        out.push(node);
        if closing && let Some(from) = opens.pop() {
            fold(&mut out, from, shape, false);
        }
    }
    out
}

fn group_functions(nodes: Vec<Node>) -> Vec<Node> {
    let mut out: Vec<Node> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let arguments = node.shape == Shape::Parenthesis;
        let name = last_solid(&out);
        out.push(node);
        if let Some(from) = name
            && arguments
            && out[from].is_any(&[Kind::Name, Kind::Builtin, Kind::Placeholder])
        {
            fold(&mut out, from, Shape::Function, false);
        }
    }
    out
}

fn group_where(text: &str, nodes: Vec<Node>) -> Vec<Node> {
    let closers =
        ["ORDER BY", "GROUP BY", "LIMIT", "UNION", "UNION ALL", "EXCEPT", "HAVING", "RETURNING", "INTO"];
    let mut out = Vec::with_capacity(nodes.len());
    let mut open = None;
    for node in nodes {
        if open.is_none() && node.is_keyword(text, "WHERE") {
            open = Some(out.len());
        } else if closers.iter().any(|word| node.is_keyword(text, word))
            && let Some(from) = open.take()
        {
            fold(&mut out, from, Shape::Where, false);
        }
        out.push(node);
    }
    if let Some(from) = open {
        fold(&mut out, from, Shape::Where, false);
    }
    out
}

fn group_members(text: &str, nodes: &[Node]) -> Vec<Node> {
    let left = |node: &Node| {
        node.is_shape(&[Shape::Brackets, Shape::Identifier]) || node.is_any(&[Kind::Name, Kind::Symbol])
    };
    let member = |node: &Node| {
        node.is_shape(&[Shape::Brackets, Shape::Function])
            || node.is_any(&[Kind::Name, Kind::Symbol, Kind::Wildcard, Kind::Single])
    };
    Infix {
        shape: Shape::Identifier,
        extend: true,
        middle: &|node| {
            node.is_mark(text, Kind::Punctuation, ".")
                || node.is_mark(text, Kind::Operator, "->")
                || node.is_mark(text, Kind::Operator, "->>")
        },
        left: &left,
        right: &|_| true,
        takes_right: &|node| node.is_some_and(member),
    }
    .apply(nodes)
}

fn group_arrays(nodes: &[Node]) -> Vec<Node> {
    Infix {
        shape: Shape::Identifier,
        extend: true,
        middle: &|node| node.shape == Shape::Brackets,
        left: &|node| {
            node.is_shape(&[Shape::Brackets, Shape::Identifier, Shape::Function])
                || node.is_any(&[Kind::Name, Kind::Symbol])
        },
        right: &|_| true,
        takes_right: &|_| false,
    }
    .apply(nodes)
}

fn group_names(mut nodes: Vec<Node>) -> Vec<Node> {
    for node in &mut nodes {
        if node.is_any(&[Kind::Name, Kind::Symbol]) {
            node.shape = Shape::Identifier;
        }
    }
    nodes
}

fn group_order(nodes: Vec<Node>) -> Vec<Node> {
    let mut out: Vec<Node> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let order = node.is(Kind::Order);
        let previous = last_solid(&out);
        out.push(node);
        if let Some(from) = previous
            && order
            && (out[from].shape == Shape::Identifier || is_number(&out[from]))
        {
            fold(&mut out, from, Shape::Identifier, false);
        }
    }
    out
}

fn group_casts(text: &str, nodes: &[Node]) -> Vec<Node> {
    Infix {
        shape: Shape::Identifier,
        extend: true,
        middle: &|node| node.is_mark(text, Kind::Punctuation, "::"),
        left: &|_| true,
        right: &|node| node.is_some(),
        takes_right: &|_| true,
    }
    .apply(nodes)
}

fn is_number(node: &Node) -> bool {
    node.is_any(&[Kind::Integer, Kind::Float, Kind::Hex])
}

fn is_operand(node: &Node) -> bool {
    node.is_shape(&[Shape::Parenthesis, Shape::Function, Shape::Identifier, Shape::Operation])
        || node.is_any(&[
            Kind::Integer,
            Kind::Float,
            Kind::Single,
            Kind::Symbol,
            Kind::Name,
            Kind::Placeholder,
        ])
}

fn group_operations(text: &str, nodes: &[Node]) -> Vec<Node> {
    let clocks = ["CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP"];
    let operand = |node: &Node| {
        is_operand(node)
            || node.shape == Shape::Brackets
            || clocks.iter().any(|word| node.is_keyword(text, word))
    };
    Infix {
        shape: Shape::Operation,
        extend: false,
        middle: &|node| node.is_any(&[Kind::Operator, Kind::Wildcard]),
        left: &operand,
        right: &|node| node.is_some_and(operand),
        takes_right: &|_| true,
    }
    .apply(nodes)
}

fn group_comparisons(text: &str, nodes: &[Node]) -> Vec<Node> {
    let operand = |node: &Node| is_operand(node) || node.is_keyword(text, "NULL");
    Infix {
        shape: Shape::Comparison,
        extend: false,
        middle: &|node| node.is(Kind::Comparison),
        left: &operand,
        right: &|node| node.is_some_and(operand),
        takes_right: &|_| true,
    }
    .apply(nodes)
}

fn group_as(text: &str, nodes: &[Node]) -> Vec<Node> {
    let reserved = [Kind::Keyword, Kind::Order, Kind::Statement];
    Infix {
        shape: Shape::Identifier,
        extend: true,
        middle: &|node| node.is_keyword(text, "AS"),
        left: &|node| node.is_keyword(text, "NULL") || !node.is_any(&reserved),
        right: &|node| node.is_some_and(|node| !node.is(Kind::Statement)),
        takes_right: &|_| true,
    }
    .apply(nodes)
}

fn group_assignments(nodes: &[Node]) -> Vec<Node> {
    let side = |node: &Node| !node.is(Kind::Keyword);
    Infix {
        shape: Shape::Assignment,
        extend: true,
        middle: &|node| node.is(Kind::Assignment),
        left: &side,
        right: &|node| node.is_some_and(side),
        takes_right: &|_| true,
    }
    .apply(nodes)
}

fn group_aliases(nodes: Vec<Node>) -> Vec<Node> {
    let named = |node: &Node| {
        is_number(node)
            || node.is_shape(&[
                Shape::Parenthesis,
                Shape::Function,
                Shape::Identifier,
                Shape::Operation,
                Shape::Comparison,
            ])
    };
    let mut out: Vec<Node> = Vec::with_capacity(nodes.len());
    // A group made here does not take a second alias.
    let mut fresh = false;
    for node in nodes {
        let previous = last_solid(&out);
        if node.is_space() {
            out.push(node);
            continue;
        }
        let alias = node.shape == Shape::Identifier;
        out.push(node);
        match previous {
            Some(from) if alias && !fresh && named(&out[from]) => {
                fold(&mut out, from, Shape::Identifier, true);
                fresh = true;
            }
            _ => fresh = false,
        }
    }
    out
}

fn align_comments(nodes: Vec<Node>) -> Vec<Node> {
    let mut out: Vec<Node> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let comment = node.shape == Shape::Comment;
        let previous = last_solid(&out);
        out.push(node);
        if let Some(from) = previous
            && comment
            && out[from].is_group()
        {
            let shape = out[from].shape;
            fold(&mut out, from, shape, true);
        }
    }
    out
}

fn group_lists(text: &str, nodes: &[Node]) -> Vec<Node> {
    let member = |node: &Node| {
        is_number(node) && !node.is(Kind::Hex)
            || node.is_shape(&[
                Shape::Function,
                Shape::Identifier,
                Shape::Comparison,
                Shape::List,
                Shape::Operation,
            ])
            || node.is_any(&[Kind::Single, Kind::Placeholder, Kind::Keyword, Kind::Wildcard])
    };
    Infix {
        shape: Shape::List,
        extend: true,
        middle: &|node| node.is_mark(text, Kind::Punctuation, ","),
        left: &member,
        right: &|node| node.is_some_and(member),
        takes_right: &|_| true,
    }
    .apply(nodes)
}
