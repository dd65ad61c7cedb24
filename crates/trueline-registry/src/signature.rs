//! What a model takes and gives, and how two of them compare. Where a signature is written down is a flow's matter.

use crate::policy::SchemaMode;
use serde::Serialize;

/// A column or a tensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Column {
    /// Its name; may be empty for a lone tensor.
    pub name: String,
    /// Its type: `double`, `tensor(float32, [-1, 28, 28])`.
    pub kind: String,
    /// Whether it may be left out.
    pub optional: bool,
}

/// What a model takes and gives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Signature {
    /// What it takes.
    pub inputs: Vec<Column>,
    /// What it gives.
    pub outputs: Vec<Column>,
    /// What can be set for each call.
    pub params: Vec<Column>,
}

/// How a column is called in a difference; what has no name is told by its place.
fn called(name: &str, place: usize) -> String {
    if name.is_empty() { format!("#{place}") } else { format!("`{name}`") }
}

/// Columns by name; those without one, by place. The order of named columns does not matter, since MLflow sorts a
/// caller's frame by the signature.
fn find<'a>(columns: &'a [Column], name: &str, place: usize) -> Option<&'a Column> {
    match name {
        "" => columns.get(place).filter(|c| c.name.is_empty()),
        _ => columns.iter().find(|c| c.name == name),
    }
}

fn compare(part: &str, own: &[Column], champions: &[Column], mode: SchemaMode, out: &mut Vec<String>) {
    for (i, column) in champions.iter().enumerate() {
        let name = called(&column.name, i);
        match find(own, &column.name, i) {
            None => out.push(format!("{part} {name} is missing")),
            Some(c) if c.kind != column.kind => {
                out.push(format!("{part} {name} is {}, not {}", c.kind, column.kind));
            }
            Some(c) if column.optional && !c.optional => {
                out.push(format!("{part} {name} is not optional any more"));
            }
            Some(c) if mode == SchemaMode::Equal && c.optional != column.optional => {
                out.push(format!("{part} {name} is optional now"));
            }
            Some(_) => {}
        }
    }
    for (i, column) in own.iter().enumerate() {
        let new = find(champions, &column.name, i).is_none();
        if new && (mode == SchemaMode::Equal || !column.optional) {
            let name = called(&column.name, i);
            let which = if column.optional { "new" } else { "new and not optional" };
            out.push(format!("{part} {name} is {which}"));
        }
    }
}

impl Signature {
    /// In what this signature differs from the champion's, one sentence for each column; nothing when it matches.
    #[must_use]
    pub fn differences(&self, champion: &Self, mode: SchemaMode) -> Vec<String> {
        let mut out = Vec::new();
        compare("input", &self.inputs, &champion.inputs, mode, &mut out);
        if mode == SchemaMode::Equal {
            compare("output", &self.outputs, &champion.outputs, mode, &mut out);
            compare("param", &self.params, &champion.params, mode, &mut out);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, kind: &str, optional: bool) -> Column {
        Column { name: name.into(), kind: kind.into(), optional }
    }

    fn takes(inputs: &[Column]) -> Signature {
        Signature { inputs: inputs.to_vec(), ..Signature::default() }
    }

    #[test]
    fn who_can_call_the_champion_can_call_a_compatible_version() {
        let (hour, day) = (column("hour", "double", false), column("day", "long", true));
        let champion = takes(&[hour.clone(), day.clone()]);
        let compatible = |inputs: &[Column]| takes(inputs).differences(&champion, SchemaMode::Compatible);
        assert!(compatible(&[day.clone(), hour.clone()]).is_empty(), "in any order");
        assert!(compatible(&[hour.clone(), day.clone(), column("new", "string", true)]).is_empty());
        let cases = [
            (vec![hour.clone()], "input `day` is missing"),
            (vec![hour.clone(), column("day", "double", true)], "input `day` is double, not long"),
            (vec![hour.clone(), column("day", "long", false)], "input `day` is not optional any more"),
            (vec![hour, day.clone(), column("new", "long", false)], "input `new` is new and not optional"),
        ];
        for (inputs, expected) in cases {
            assert_eq!(compatible(&inputs), [expected]);
        }
        assert!(
            compatible(&[column("hour", "double", true), day]).is_empty(),
            "what became optional harms nobody"
        );
    }

    #[test]
    fn equal_means_outputs_too_and_nothing_new() {
        let champion =
            Signature { outputs: vec![column("", "double", false)], ..takes(&[column("a", "long", false)]) };
        let mut own = champion.clone();
        assert!(own.differences(&champion, SchemaMode::Equal).is_empty());
        own.outputs[0].kind = "float".into();
        own.inputs.push(column("b", "long", true));
        assert!(own.differences(&champion, SchemaMode::Compatible).is_empty());
        assert_eq!(
            own.differences(&champion, SchemaMode::Equal),
            ["input `b` is new", "output #0 is float, not double"]
        );
    }
}
