//! Adding versions of datasets.

use super::{Client, Done};
use crate::api::{Api, Failure, text};
use crate::story::{Pending, Table};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// How often it is asked whether the version is made.
const LOOK: Duration = Duration::from_millis(5);

impl Client<'_> {
    pub(super) fn add_data(&mut self) -> Done {
        if self.rng.chance(0.2) {
            let name = format!("{}-data-{}", self.prefix, self.story.datasets.len());
            let rows = usize::try_from(self.rng.within(1..300)).unwrap_or(1);
            let table = Table { seed: self.rng.number(), rows };
            let pending = Pending::Dataset { name: name.clone(), table };
            self.send(pending, |api| add_version(api, &name, table))?;
            self.story.datasets.insert(name, table);
        }
        Ok(())
    }
}

/// Sends the file, asks for the version and waits until it is made.
fn add_version(api: &Api, name: &str, table: Table) -> Result<(), Failure> {
    let csv = table.csv();
    let sha256 = hex::encode(Sha256::digest(&csv));
    api.put(&format!("/api/v1/dataset-files/{sha256}"), csv.as_bytes())?;
    let file = json!({ "name": "table.csv", "sha256": sha256, "size": csv.len() });
    let asked = api.send(&format!("/api/v1/datasets/{name}/versions"), &json!({ "files": [file] }))?;
    let follow = text(&asked["follow"]);
    loop {
        let task = api.get(&follow, &[])?;
        match task["state"].as_str() {
            Some("done") => return Ok(()),
            Some("queued" | "running") => std::thread::sleep(LOOK),
            _ => return Err(Failure::Refused { status: 200, said: format!("the task is {task}") }),
        }
    }
}
