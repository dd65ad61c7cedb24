//! One tree as the file has it: its parallel arrays, and the proof that they form a tree.
//! How a proven tree is laid out for scoring is `forest`'s business.

use std::borrow::Cow;

use crate::document::At;
use crate::error::{LoadError, TreeProblem};

/// XGBoost marks a pruned node by this split index (`sindex_` with all bits set, the default bit masked off).
const PRUNED: i64 = 0x7fff_ffff;
/// `InvalidCat` in XGBoost's `categorical.h`: categories are below 2^24, for f32 to hold them.
pub(crate) const CATEGORY_LIMIT: i64 = 1 << 24;

/// The parallel arrays of a tree, lengths proven equal.
pub(crate) struct TreeArrays<'a> {
    left: &'a [i64],
    right: &'a [i64],
    feature: &'a [i64],
    default_left: &'a [i64],
    /// Thresholds of splits, values of leaves.
    condition: Cow<'a, [f32]>,
    /// Per node: the range of `categories` that go right; `None` for a numeric split.
    sets: Vec<Option<&'a [i64]>>,
    vectors: Option<Vectors<'a>>,
}

/// The leaves of a multi-output tree: vectors of `width` numbers. A leaf names its vector where it would have its right
/// child.
struct Vectors<'a> {
    width: usize,
    weights: Cow<'a, [f32]>,
}

/// What a node does, once proven.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Node<'a> {
    Leaf(f32),
    /// A leaf that adds to all outputs, from that place of [`BreadthFirst::vectors`] on.
    Vector(usize),
    /// `value < threshold` goes left.
    Numeric {
        feature: u32,
        default_left: bool,
        threshold: f32,
    },
    /// A value that is one of `right` goes right.
    Categorical {
        feature: u32,
        default_left: bool,
        right: &'a [i64],
    },
}

/// A tree in breadth-first order: the root first, the children of a node next to each other.
pub(crate) struct BreadthFirst<'a> {
    pub(crate) nodes: Vec<Node<'a>>,
    /// Per node: the position of its left child in `nodes`, 0 for a leaf.
    pub(crate) left: Vec<u32>,
    /// Edges on the longest path from the root to a leaf.
    pub(crate) depth: usize,
    /// The numbers of vector leaves; empty for a tree with one output.
    pub(crate) vectors: Cow<'a, [f32]>,
}

fn tree_error(tree: usize, problem: TreeProblem) -> LoadError {
    LoadError::Tree { tree, problem }
}

impl<'a> TreeArrays<'a> {
    /// Reads the arrays of tree number `id`, of a model with so many outputs.
    pub(crate) fn read(json: &At<'a, '_>, id: usize, outputs: usize) -> Result<Self, LoadError> {
        let param = json.get("tree_param")?;
        let vectors = read_vectors(json, &param, outputs)?;
        let num_nodes = param.get("num_nodes")?;
        let count = usize::try_from(num_nodes.text_int()?).map_err(|_| LoadError::Inconsistent {
            path: num_nodes.path(),
            problem: "a negative number of nodes".into(),
        })?;
        if count == 0 {
            return Err(tree_error(id, TreeProblem::Empty));
        }
        let ints = |field: &'static str| -> Result<&'a [i64], LoadError> {
            let array = json.get(field)?.ints()?;
            check_length(id, field, count, array.len())?;
            Ok(array)
        };
        let condition = json.get("split_conditions")?.floats()?;
        check_length(id, "split_conditions", count, condition.len())?;
        for field in ["parents", "base_weights", "loss_changes", "sum_hessian"] {
            // A node of a multi-output tree has as many base weights as its gradient had outputs.
            let counted = vectors.is_none() || field != "base_weights";
            if let Some(array) = json.find(field)?.filter(|_| counted) {
                check_length(id, field, count, array.len()?)?;
            }
        }
        Ok(Self {
            left: ints("left_children")?,
            right: ints("right_children")?,
            feature: ints("split_indices")?,
            default_left: ints("default_left")?,
            condition,
            sets: read_category_sets(json, id, count)?,
            vectors,
        })
    }

    fn len(&self) -> usize {
        self.left.len()
    }

    /// The children of `node`, `None` for a leaf.
    fn children(&self, node: usize) -> Result<Option<(usize, usize)>, TreeProblem> {
        let (left, right) = (self.left[node], self.right[node]);
        let nodes = self.len();
        let index = |child: i64| {
            usize::try_from(child).ok().filter(|&c| c < nodes).ok_or(TreeProblem::ChildOutOfRange {
                node,
                child,
                nodes,
            })
        };
        match (left, right) {
            (-1, -1) => Ok(None),
            (-1, _) if self.vectors.is_some() => Ok(None),
            (-1, _) | (_, -1) => Err(TreeProblem::OneChild { node }),
            _ => Ok(Some((index(left)?, index(right)?))),
        }
    }

    /// The split or leaf at `node`.
    fn node(&self, node: usize, is_leaf: bool, num_feature: usize) -> Result<Node<'a>, TreeProblem> {
        let value = self.condition[node];
        if is_leaf && let Some(vectors) = &self.vectors {
            return vectors.leaf(node, self.right[node]);
        }
        if is_leaf {
            return if value.is_finite() {
                Ok(Node::Leaf(value))
            } else {
                Err(TreeProblem::NonFiniteLeaf { node, value: value.into() })
            };
        }
        let feature = self.feature[node];
        let feature = u32::try_from(feature)
            .ok()
            .filter(|&f| (f as usize) < num_feature)
            .ok_or(TreeProblem::SplitIndex { node, feature, num_feature })?;
        let default_left = match self.default_left[node] {
            0 => false,
            1 => true,
            value => return Err(TreeProblem::DefaultLeft { node, value }),
        };
        match self.sets[node] {
            Some(right) => Ok(Node::Categorical { feature, default_left, right }),
            None if value.is_nan() => Err(TreeProblem::NanThreshold { node }),
            None => Ok(Node::Numeric { feature, default_left, threshold: value }),
        }
    }

    /// Proves that the arrays form one tree, and gives it in breadth-first order without its pruned nodes.
    pub(crate) fn breadth_first(self, id: usize, num_feature: usize) -> Result<BreadthFirst<'a>, LoadError> {
        let mut tree = self.walk(num_feature).map_err(|problem| tree_error(id, problem))?;
        if let Some(vectors) = self.vectors {
            tree.vectors = vectors.weights;
        }
        Ok(tree)
    }

    fn walk(&self, num_feature: usize) -> Result<BreadthFirst<'a>, TreeProblem> {
        const UNSEEN: usize = usize::MAX;
        let mut parent = vec![UNSEEN; self.len()];
        parent[0] = 0;
        let mut order = vec![0];
        let mut out =
            BreadthFirst { nodes: Vec::new(), left: Vec::new(), depth: 0, vectors: Cow::Borrowed(&[]) };
        let mut level_end = 1;
        let mut at = 0;
        while at < order.len() {
            if at == level_end {
                out.depth += 1;
                level_end = order.len();
            }
            let node = order[at];
            let children = self.children(node)?;
            out.nodes.push(self.node(node, children.is_none(), num_feature)?);
            out.left.push(if children.is_some() { order.len() as u32 } else { 0 });
            if let Some((left, right)) = children {
                for child in [left, right] {
                    if parent[child] != UNSEEN {
                        return Err(revisited(&parent, node, child));
                    }
                    parent[child] = node;
                    order.push(child);
                }
                if right != left + 1 {
                    return Err(TreeProblem::ChildrenNotAdjacent { node, left, right });
                }
            }
            at += 1;
        }
        match (0..self.len()).find(|&n| parent[n] == UNSEEN && self.feature[n] != PRUNED) {
            Some(node) => Err(TreeProblem::Unreachable { node }),
            None => Ok(out),
        }
    }
}

impl Vectors<'_> {
    fn leaf<'a>(&self, node: usize, leaf: i64) -> Result<Node<'a>, TreeProblem> {
        let leaves = self.weights.len() / self.width;
        let index = usize::try_from(leaf).ok().filter(|&leaf| leaf < leaves);
        let start = self.width * index.ok_or(TreeProblem::LeafOutOfRange { node, leaf, leaves })?;
        match self.weights[start..][..self.width].iter().find(|value| !value.is_finite()) {
            Some(&value) => Err(TreeProblem::NonFiniteLeaf { node, value: value.into() }),
            None => Ok(Node::Vector(start)),
        }
    }
}

/// The vectors of a tree's leaves, `None` when a leaf holds one number.
fn read_vectors<'a>(
    json: &At<'a, '_>,
    param: &At<'a, '_>,
    outputs: usize,
) -> Result<Option<Vectors<'a>>, LoadError> {
    let Some(at) = param.find("size_leaf_vector")? else { return Ok(None) };
    let width = at.text_int()?;
    if width <= 1 {
        return Ok(None);
    }
    if usize::try_from(width) != Ok(outputs) {
        return Err(LoadError::Inconsistent {
            path: at.path(),
            problem: format!("leaves have {width} outputs in a model with {outputs}"),
        });
    }
    let Some(weights) = json.find("leaf_weights")? else {
        return Err(LoadError::Unsupported {
            what: "a multi-output tree as XGBoost wrote it before 3.2, without `leaf_weights`".into(),
            remedy: "train it with XGBoost 3.2 or with multi_strategy=one_output_per_tree, or serve it with the \
                     Python runtime",
        });
    };
    Ok(Some(Vectors { width: outputs, weights: weights.floats()? }))
}

/// Tells a cycle from a node with two parents: `child` was met before; is it `node` or above it?
fn revisited(parent: &[usize], node: usize, child: usize) -> TreeProblem {
    let mut above = node;
    loop {
        if above == child {
            return TreeProblem::Cycle { node, child };
        }
        if above == 0 {
            return TreeProblem::SharedNode { node, child };
        }
        above = parent[above];
    }
}

fn check_length(id: usize, field: &'static str, expected: usize, found: usize) -> Result<(), LoadError> {
    if expected == found {
        return Ok(());
    }
    Err(tree_error(id, TreeProblem::ArrayLength { field, expected, found }))
}

/// Reads `split_type` and the `categories*` arrays; absent in models from before XGBoost 1.3.
fn read_category_sets<'a>(
    json: &At<'a, '_>,
    id: usize,
    count: usize,
) -> Result<Vec<Option<&'a [i64]>>, LoadError> {
    let mut sets = vec![None; count];
    let Some(split_type) = json.find("split_type")? else { return Ok(sets) };
    let split_type = split_type.ints()?;
    check_length(id, "split_type", count, split_type.len())?;
    if split_type.iter().all(|&kind| kind == 0) && json.find("categories_nodes")?.is_none() {
        return Ok(sets);
    }
    let nodes = json.get("categories_nodes")?.ints()?;
    let segments = json.get("categories_segments")?.ints()?;
    let sizes = json.get("categories_sizes")?.ints()?;
    let categories = json.get("categories")?.ints()?;
    check_length(id, "categories_segments", nodes.len(), segments.len())?;
    check_length(id, "categories_sizes", nodes.len(), sizes.len())?;
    let wrong = |node: usize, problem| tree_error(id, TreeProblem::Categories { node, problem });
    let mut previous = -1;
    let mut used = 0;
    for ((&node, &begin), &size) in nodes.iter().zip(segments).zip(sizes) {
        let index = usize::try_from(node).unwrap_or(usize::MAX);
        if node <= previous || index >= count {
            return Err(wrong(index, "`categories_nodes` must rise and lie within the tree"));
        }
        previous = node;
        let set = usize::try_from(size).ok().and_then(|size| categories.get(used..)?.get(..size));
        let Some(set) = set.filter(|_| usize::try_from(begin) == Ok(used)) else {
            return Err(wrong(index, "the segments must follow one another and lie within `categories`"));
        };
        used += set.len();
        if set.is_empty() {
            return Err(wrong(index, "the set is empty"));
        }
        if !set.iter().all(|c| (0..CATEGORY_LIMIT).contains(c)) {
            return Err(wrong(index, "a category is negative or above 2^24"));
        }
        sets[index] = Some(set);
    }
    for (node, (&kind, set)) in split_type.iter().zip(&sets).enumerate() {
        match (kind, set) {
            (0, None) | (1, Some(_)) => {}
            (0, Some(_)) => {
                return Err(wrong(node, "it is listed in `categories_nodes` but splits numerically"));
            }
            (1, None) => {
                return Err(wrong(node, "it splits by category but is not listed in `categories_nodes`"));
            }
            _ => return Err(wrong(node, "`split_type` is neither 0 nor 1")),
        }
    }
    Ok(sets)
}
