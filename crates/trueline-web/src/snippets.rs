//! How an endpoint is asked from elsewhere, to be copied: by curl, from Python, by the clients of the Open Inference Protocol.
//! Each is whole: address, name and input are those of the endpoint. Tests run them as they stand on the page.

use crate::pages::{Signature, Snippet};
use serde_json::Value as Json;
use std::fmt::Write as _;

/// What a snippet is made of.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The server's address, `http://127.0.0.1:5700`.
    pub address: &'a str,
    /// The project's name.
    pub project: &'a str,
    /// The endpoint's name.
    pub endpoint: &'a str,
    /// Whether the caller needs a token.
    pub token: bool,
    /// The input, in one of MLflow's forms.
    pub body: &'a Json,
    /// What the model takes, when recorded.
    pub signature: Option<&'a Signature>,
}

/// How a language says what others have as numbers, texts and brackets too.
struct Words {
    null: &'static str,
    on: &'static str,
    off: &'static str,
}

const JSON: Words = Words { null: "null", on: "true", off: "false" };
const PYTHON: Words = Words { null: "None", on: "True", off: "False" };
/// Lines are broken beyond this length, where that can be done.
const LINE: usize = 88;

/// A value as people write it: on one line if it fits, else its parts on lines of their own.
fn written(value: &Json, words: &Words, indent: usize) -> String {
    let one_line = compact(value, words);
    if one_line.len() + indent <= LINE {
        return one_line;
    }
    let inner = " ".repeat(indent + 4);
    let (open, close, parts): (_, _, Vec<String>) = match value {
        Json::Array(list) => ('[', ']', list.iter().map(|v| written(v, words, indent + 4)).collect()),
        Json::Object(map) => {
            let part = |(k, v): (&String, &Json)| {
                format!("{}: {}", Json::from(k.as_str()), written(v, words, indent + 4))
            };
            ('{', '}', map.iter().map(part).collect())
        }
        _ => return one_line,
    };
    format!("{open}\n{inner}{}\n{}{close}", parts.join(&format!(",\n{inner}")), " ".repeat(indent))
}

fn compact(value: &Json, words: &Words) -> String {
    let joined = |parts: Vec<String>| parts.join(", ");
    match value {
        Json::Null => words.null.to_owned(),
        Json::Bool(on) => if *on { words.on } else { words.off }.to_owned(),
        Json::Array(list) => format!("[{}]", joined(list.iter().map(|v| compact(v, words)).collect())),
        Json::Object(map) => {
            let part =
                |(k, v): (&String, &Json)| format!("{}: {}", Json::from(k.as_str()), compact(v, words));
            format!("{{{}}}", joined(map.iter().map(part).collect()))
        }
        // Python reads texts and numbers as JSON writes them.
        other => other.to_string(),
    }
}

/// An input as it is sent, written for people.
#[must_use]
pub fn input(body: &Json) -> String {
    written(body, &JSON, 0)
}

/// A tensor of the Open Inference Protocol.
struct Tensor<'a> {
    name: &'a str,
    datatype: &'static str,
    values: Json,
}

impl Asked<'_> {
    /// The path of the scoring route.
    #[must_use]
    pub fn path(&self) -> String {
        let segment = crate::links::segment;
        format!("/projects/{}/endpoints/{}/invocations", segment(self.project), segment(self.endpoint))
    }

    /// All of them that the input can be asked by.
    #[must_use]
    pub fn snippets(&self) -> Vec<Snippet> {
        let mut all = vec![
            Snippet { id: "curl", title: "curl", needs: "", text: self.curl() },
            Snippet { id: "python", title: "Python", needs: "pip install requests", text: self.python() },
        ];
        if let Some(tensors) = self.tensors() {
            let over = |module| self.triton(module, &tensors);
            let http = "pip install 'tritonclient[http]'";
            let grpc = "pip install 'tritonclient[grpc]'";
            all.push(Snippet {
                id: "oip-http",
                title: "Open Inference Protocol",
                needs: http,
                text: over("http"),
            });
            all.push(Snippet {
                id: "oip-grpc",
                title: "The same over gRPC",
                needs: grpc,
                text: over("grpc"),
            });
        }
        all
    }

    /// The command that asks it.
    #[must_use]
    pub fn curl(&self) -> String {
        let token = match self.token {
            true => " \\\n  -H \"authorization: Bearer $TRUELINE_TOKEN\"",
            false => "",
        };
        let body = self.body.to_string().replace('\'', r"'\''");
        let url = format!("{}{}", self.address, self.path());
        format!("curl {url}{token} \\\n  -H 'content-type: application/json' \\\n  -d '{body}'")
    }

    fn python(&self) -> String {
        let mut headers = String::new();
        if self.token {
            headers = format!("    headers={{{AUTHORIZATION}}},\n");
        }
        let os = if self.token { "import os\n\n" } else { "" };
        format!(
            "{os}import requests\n\nanswer = requests.post(\n    \"{}{}\",\n{headers}    json={},\n    timeout=30,\n)\n\
             answer.raise_for_status()\nprint(answer.json()[\"predictions\"])",
            self.address,
            self.path(),
            written(self.body, &PYTHON, 4),
        )
    }

    fn triton(&self, over: &str, tensors: &[Tensor<'_>]) -> String {
        let os = if self.token { "import os\n\n" } else { "" };
        let mut text = format!(
            "{os}import numpy as np\nimport tritonclient.{over} as triton\n\n\
             client = triton.InferenceServerClient(\"{}\"{})\ninputs = []\n",
            self.host(over),
            if self.is_encrypted() { ", ssl=True" } else { "" },
        );
        for tensor in tensors {
            let values = written(&tensor.values, &PYTHON, 0);
            let name = Json::from(tensor.name);
            let _ = write!(
                text,
                "values = np.array({values}, dtype={})\n\
                 inputs.append(triton.InferInput({name}, values.shape, \"{}\"))\n\
                 inputs[-1].set_data_from_numpy(values)\n",
                numpy(tensor.datatype),
                tensor.datatype,
            );
        }
        let _ = writeln!(text, "answer = client.infer(\"{}\", inputs{})", self.endpoint, self.oip_headers());
        let _ = write!(text, "print(answer.as_numpy({}).tolist())", Json::from(self.output()));
        text
    }

    fn oip_headers(&self) -> String {
        let mut headers = Vec::new();
        if self.project != "default" {
            headers.push(format!("\"x-trueline-project\": {}", Json::from(self.project)));
        }
        if self.token {
            headers.push(AUTHORIZATION.to_owned());
        }
        if headers.is_empty() { String::new() } else { format!(", headers={{{}}}", headers.join(", ")) }
    }

    fn is_encrypted(&self) -> bool {
        self.address.starts_with("https://")
    }

    /// Name and port; a channel of gRPC takes no port for granted.
    fn host(&self, over: &str) -> String {
        let host = self.address.split_once("://").map_or(self.address, |(_, host)| host);
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        match (over, has_port, self.is_encrypted()) {
            ("grpc", false, true) => format!("{host}:443"),
            ("grpc", false, false) => format!("{host}:80"),
            _ => host.to_owned(),
        }
    }

    /// What the first output is called.
    fn output(&self) -> &str {
        let named = self.signature.and_then(|s| s.outputs.first()).map(|f| f.name.as_str());
        named.filter(|name| !name.is_empty()).unwrap_or("predict")
    }

    /// The input as tensors; none when it can't be said as such.
    fn tensors(&self) -> Option<Vec<Tensor<'_>>> {
        let columns: Vec<(&str, Json)> = match self.body.as_object()?.iter().next()? {
            (form, split) if form == "dataframe_split" => {
                let rows = split["data"].as_array()?;
                let names = split["columns"].as_array()?.iter().enumerate();
                names
                    .map(|(i, n)| Some((n.as_str()?, pick(rows, move |r| r.get(i)))))
                    .collect::<Option<_>>()?
            }
            (form, records) if form == "dataframe_records" => {
                let rows = records.as_array()?;
                let names = rows.first()?.as_object()?.keys();
                names.map(|name| (name.as_str(), pick(rows, |r| r.get(name)))).collect()
            }
            (_, Json::Object(named)) => {
                named.iter().map(|(name, values)| (name.as_str(), values.clone())).collect()
            }
            (_, values @ Json::Array(_)) => vec![(self.first_input(), values.clone())],
            _ => return None,
        };
        let tensor = |(name, values): (_, Json)| {
            let datatype = self.declared(name).or_else(|| datatype(&values))?;
            fits(&values, datatype).then_some(Tensor { name, datatype, values })
        };
        columns.into_iter().map(tensor).collect()
    }

    fn first_input(&self) -> &str {
        let named = self.signature.and_then(|s| s.inputs.first()).map(|f| f.name.as_str());
        named.filter(|name| !name.is_empty()).unwrap_or("input")
    }

    /// The type that the signature has for an input.
    fn declared(&self, name: &str) -> Option<&'static str> {
        let inputs = &self.signature?.inputs;
        let field = inputs.iter().find(|f| f.name == name || (f.name.is_empty() && inputs.len() == 1))?;
        let inside = field.kind.strip_prefix("tensor(").and_then(|k| k.split(',').next());
        Some(match inside.unwrap_or(&field.kind) {
            "double" | "float64" => "FP64",
            "float" | "float32" => "FP32",
            "long" | "int64" => "INT64",
            "integer" | "int32" => "INT32",
            "int16" => "INT16",
            "int8" => "INT8",
            "uint64" => "UINT64",
            "uint32" => "UINT32",
            "uint16" => "UINT16",
            "uint8" => "UINT8",
            "boolean" | "bool" => "BOOL",
            "string" | "datetime" | "str" | "object" => "BYTES",
            _ => return None,
        })
    }
}

const AUTHORIZATION: &str = "\"authorization\": f\"Bearer {os.environ['TRUELINE_TOKEN']}\"";

/// A value of each row; what a row does not have is missing.
fn pick<'a>(rows: &'a [Json], of: impl Fn(&'a Json) -> Option<&'a Json>) -> Json {
    rows.iter().map(|row| of(row).cloned().unwrap_or(Json::Null)).collect()
}

/// What values lie in lists of lists.
fn leaves<'a>(value: &'a Json, found: &mut Vec<&'a Json>) {
    match value {
        Json::Array(list) => list.iter().for_each(|v| leaves(v, found)),
        other => found.push(other),
    }
}

/// The type that values have without anybody saying so.
fn datatype(values: &Json) -> Option<&'static str> {
    let mut all = Vec::new();
    leaves(values, &mut all);
    let every = |is: fn(&Json) -> bool| !all.is_empty() && all.iter().all(|v| is(v));
    if every(Json::is_boolean) {
        Some("BOOL")
    } else if every(Json::is_i64) {
        Some("INT64")
    } else if every(|v| v.is_number() || v.is_null()) {
        Some("FP64")
    } else if every(Json::is_string) {
        Some("BYTES")
    } else {
        None
    }
}

/// Whether a tensor of this type can hold the values: only floats may be missing.
fn fits(values: &Json, datatype: &str) -> bool {
    let mut all = Vec::new();
    leaves(values, &mut all);
    all.iter().all(|v| match datatype {
        "FP64" | "FP32" => v.is_number() || v.is_null(),
        "BOOL" => v.is_boolean(),
        "BYTES" => v.is_string(),
        _ => v.is_i64() || v.is_u64(),
    })
}

fn numpy(datatype: &str) -> &'static str {
    match datatype {
        "FP64" => "np.float64",
        "FP32" => "np.float32",
        "INT64" => "np.int64",
        "INT32" => "np.int32",
        "INT16" => "np.int16",
        "INT8" => "np.int8",
        "UINT64" => "np.uint64",
        "UINT32" => "np.uint32",
        "UINT16" => "np.uint16",
        "UINT8" => "np.uint8",
        "BOOL" => "np.bool_",
        _ => "np.object_",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::Field;
    use serde_json::json;

    fn asked<'a>(body: &'a Json, signature: Option<&'a Signature>) -> Asked<'a> {
        let (address, project, endpoint) = ("http://127.0.0.1:5700", "default", "delays");
        Asked { address, project, endpoint, token: false, body, signature }
    }

    fn ids(asked: &Asked<'_>) -> Vec<&'static str> {
        asked.snippets().iter().map(|s| s.id).collect()
    }

    #[test]
    fn what_is_short_stands_on_a_line_and_what_is_long_on_several() {
        let short = json!({ "inputs": [[1, null, true]] });
        assert_eq!(input(&short), r#"{"inputs": [[1, null, true]]}"#);
        assert_eq!(written(&short, &PYTHON, 0), r#"{"inputs": [[1, None, True]]}"#);
        let long = json!({ "inputs": [vec![0.125; 9], vec![0.25; 9]] });
        let told = input(&long);
        assert!(told.starts_with("{\n    \"inputs\": [\n        [0.125, "), "{told}");
        assert_eq!(serde_json::from_str::<Json>(&told).unwrap(), long);
    }

    #[test]
    fn an_apostrophe_does_not_end_the_argument_of_curl() {
        let body = json!({ "inputs": ["it's"] });
        assert!(asked(&body, None).curl().ends_with(r#"-d '{"inputs":["it'\''s"]}'"#));
    }

    #[test]
    fn every_form_of_an_input_is_said_in_tensors() {
        let forms = [
            json!({ "dataframe_split": { "columns": ["a", "b"], "data": [[1, "x"], [2, "y"]] } }),
            json!({ "dataframe_records": [{ "a": 1, "b": "x" }, { "a": 2, "b": "y" }] }),
            json!({ "inputs": { "a": [1, 2], "b": ["x", "y"] } }),
        ];
        for form in &forms {
            let asked = asked(form, None);
            let tensors = asked.tensors().unwrap();
            let told: Vec<_> = tensors.iter().map(|t| (t.name, t.datatype, t.values.clone())).collect();
            assert_eq!(told, [("a", "INT64", json!([1, 2])), ("b", "BYTES", json!(["x", "y"]))]);
        }
        let matrix = json!({ "instances": [[0.5, null], [1, 2]] });
        let asked = asked(&matrix, None);
        let tensors = asked.tensors().unwrap();
        assert_eq!((tensors[0].name, tensors[0].datatype), ("input", "FP64"));
    }

    #[test]
    fn a_signature_says_types_and_names() {
        let field = |name: &str, kind: &str| Field { name: name.into(), kind: kind.into(), optional: false };
        let signature = Signature {
            inputs: vec![field("", "tensor(float32, [-1,2])")],
            outputs: vec![field("risk", "double")],
            params: vec![],
        };
        let body = json!({ "inputs": [[1, 2]] });
        let text = asked(&body, Some(&signature)).snippets().pop().unwrap().text;
        assert!(text.contains("np.array([[1, 2]], dtype=np.float32)"), "{text}");
        assert!(text.contains(r#"as_numpy("risk")"#), "{text}");
    }

    #[test]
    fn what_no_tensor_can_say_has_no_snippet_for_it() {
        for values in [json!([null, "x"]), json!([{ "nested": 1 }]), json!([1, "x"]), json!([])] {
            let body = json!({ "inputs": { "a": values } });
            assert_eq!(ids(&asked(&body, None)), ["curl", "python"], "{body}");
        }
    }

    #[test]
    fn tokens_projects_and_encryption_are_told_where_they_matter() {
        let body = json!({ "inputs": [1] });
        let plain = asked(&body, None);
        let whole = Asked { address: "https://ml.example", project: "team a", token: true, ..plain };
        for snippet in whole.snippets() {
            assert!(snippet.text.contains("TRUELINE_TOKEN"), "{}", snippet.text);
        }
        let grpc = whole.snippets().pop().unwrap().text;
        assert!(grpc.contains(r#"("ml.example:443", ssl=True)"#), "{grpc}");
        assert!(grpc.contains(r#""x-trueline-project": "team a""#), "{grpc}");
        assert!(whole.curl().contains("https://ml.example/projects/team%20a/endpoints/delays/invocations"));
        for snippet in plain.snippets() {
            assert!(
                !snippet.text.contains("TOKEN") && !snippet.text.contains("headers="),
                "{}",
                snippet.text
            );
        }
    }
}
