//! Which step waits for which: those that it names, and those that make what it reads.

use crate::PipelineError;
use crate::declaration::StepSpec;
use std::collections::{BTreeMap, BTreeSet};

/// The arrows between the steps of a pipeline; there is no way round in a circle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    before: BTreeMap<String, BTreeSet<String>>,
    order: Vec<String>,
}

/// Whether one path is the other, or lies in it.
fn overlap(a: &str, b: &str) -> bool {
    let within = |inner: &str, outer: &str| {
        inner == outer || inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
    };
    within(a, b) || within(b, a)
}

impl Graph {
    /// The graph of steps with unique names.
    ///
    /// # Errors
    /// [`PipelineError::Invalid`] for a step that there is not, outputs of two steps that collide, or a cycle.
    pub fn of(steps: &[StepSpec]) -> Result<Self, PipelineError> {
        refuse_colliding_outputs(steps)?;
        let mut before = BTreeMap::new();
        for step in steps {
            let mut needs = BTreeSet::new();
            for need in &step.needs {
                if !steps.iter().any(|s| s.name == *need) {
                    return Err(PipelineError::Invalid(format!(
                        "step `{}` needs `{need}`, which is no step of the pipeline",
                        step.name
                    )));
                }
                needs.insert(need.clone());
            }
            for maker in steps.iter().filter(|other| other.name != step.name) {
                let makes = |input: &String| maker.outputs.iter().any(|output| overlap(input, output));
                if step.inputs.iter().any(makes) {
                    needs.insert(maker.name.clone());
                }
            }
            before.insert(step.name.clone(), needs);
        }
        let names: Vec<&String> = steps.iter().map(|s| &s.name).collect();
        let order = ordered(&names, &before)?;
        Ok(Self { before, order })
    }

    /// The steps that must have ended well before this one.
    pub fn before(&self, step: &str) -> impl Iterator<Item = &String> {
        self.before.get(step).into_iter().flatten()
    }

    /// All steps that wait for this one, near and far.
    #[must_use]
    pub fn after(&self, step: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        // In order, so that whoever is before has been seen.
        for name in &self.order {
            if self.before(name).any(|b| b == step || found.contains(b)) {
                found.insert(name.clone());
            }
        }
        found
    }

    /// The steps, each after those that it waits for.
    #[must_use]
    pub fn order(&self) -> &[String] {
        &self.order
    }

    /// How many arrows lead to a step at most: its column in a picture.
    #[must_use]
    pub fn depth(&self, step: &str) -> usize {
        self.before(step).map(|b| self.depth(b) + 1).max().unwrap_or(0)
    }
}

fn refuse_colliding_outputs(steps: &[StepSpec]) -> Result<(), PipelineError> {
    let all: Vec<(&str, &str)> =
        steps.iter().flat_map(|s| s.outputs.iter().map(move |o| (s.name.as_str(), o.as_str()))).collect();
    for (i, (step, output)) in all.iter().enumerate() {
        if let Some((other, path)) = all[i + 1..].iter().find(|(_, path)| overlap(output, path)) {
            return Err(PipelineError::Invalid(format!(
                "the outputs `{output}` of step `{step}` and `{path}` of step `{other}` collide: each file has one maker"
            )));
        }
        let own = steps.iter().find(|s| s.name == *step);
        if own.is_some_and(|s| s.inputs.iter().any(|input| overlap(input, output))) {
            return Err(PipelineError::Invalid(format!(
                "step `{step}` reads and makes `{output}`: write to another path"
            )));
        }
    }
    Ok(())
}

fn ordered(
    names: &[&String],
    before: &BTreeMap<String, BTreeSet<String>>,
) -> Result<Vec<String>, PipelineError> {
    let mut order: Vec<String> = Vec::new();
    while order.len() < names.len() {
        let ready =
            |name: &&&String| !order.contains(**name) && before[**name].iter().all(|b| order.contains(b));
        match names.iter().find(ready) {
            Some(name) => order.push((**name).clone()),
            None => return Err(PipelineError::Invalid(cycle(names, before, &order))),
        }
    }
    Ok(order)
}

/// The cycle in words: `a → b → a`. Every step that could not be ordered waits for one of its kind.
fn cycle(names: &[&String], before: &BTreeMap<String, BTreeSet<String>>, ordered: &[String]) -> String {
    let stuck = |name: &String| !ordered.contains(name);
    let mut path: Vec<&String> = names.iter().copied().filter(|n| stuck(n)).take(1).collect();
    while let Some(next) = path.last().and_then(|last| before[*last].iter().find(|b| stuck(b))) {
        if let Some(start) = path.iter().position(|seen| *seen == next) {
            let mut round: Vec<&str> = path[start..].iter().map(|n| n.as_str()).collect();
            round.push(next);
            round.reverse();
            return format!("the steps wait for each other in a circle: {}", round.join(" → "));
        }
        path.push(next);
    }
    "the steps wait for each other in a circle".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(yaml: &str) -> Vec<StepSpec> {
        serde_saphyr::from_str(yaml).unwrap()
    }

    #[test]
    fn who_reads_a_file_waits_for_its_maker() {
        let graph = Graph::of(&steps(
            "
- {name: report, command: x, inputs: [models/a.json], needs: [check]}
- {name: train, command: x, inputs: [data.csv], outputs: [models]}
- {name: check, command: x}
- {name: prepare, command: x, outputs: [data.csv]}
",
        ))
        .unwrap();
        assert_eq!(graph.order(), ["check", "prepare", "train", "report"]);
        assert_eq!(graph.before("report").collect::<Vec<_>>(), ["check", "train"]);
        assert_eq!(graph.after("prepare"), BTreeSet::from(["report".to_owned(), "train".to_owned()]));
        assert_eq!((graph.depth("prepare"), graph.depth("train"), graph.depth("report")), (0, 1, 2));
    }

    #[test]
    fn a_cycle_is_named_step_by_step() {
        let refused = Graph::of(&steps(
            "
- {name: start, command: x}
- {name: a, command: x, needs: [c, start]}
- {name: b, command: x, needs: [a]}
- {name: c, command: x, needs: [b]}
",
        ));
        let told = refused.unwrap_err().to_string();
        assert_eq!(told, "the steps wait for each other in a circle: a → b → c → a");
    }

    #[test]
    fn a_file_has_one_maker() {
        for (a, b) in [("out", "out"), ("out", "out/x.csv"), ("out/x.csv", "out")] {
            let yaml = format!(
                "- {{name: a, command: x, outputs: ['{a}']}}\n- {{name: b, command: x, outputs: ['{b}']}}"
            );
            assert!(Graph::of(&steps(&yaml)).unwrap_err().to_string().contains("collide"), "{a} {b}");
        }
        let yaml = "- {name: a, command: x, outputs: [out]}\n- {name: b, command: x, outputs: [out2]}";
        assert!(Graph::of(&steps(yaml)).is_ok());
    }
}
