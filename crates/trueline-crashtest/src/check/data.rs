//! Versions of datasets, with their bytes.

use super::{Asked, Checker, Depth, missing_is_none};
use crate::story::{Pending, Story, Table};

impl Checker {
    pub(super) fn datasets(&mut self, story: &mut Story, pending: Option<&Pending>) -> Asked {
        if let Some(Pending::Dataset { name, table }) = pending {
            let there = missing_is_none(self.api.get(&version_path(name), &[]))?.is_some();
            self.settle(there);
            if there {
                story.datasets.insert(name.clone(), *table);
            }
        }
        if self.depth == Depth::All {
            story.datasets.iter().try_for_each(|(name, table)| self.dataset(name, *table))?;
        }
        Ok(())
    }

    fn dataset(&mut self, name: &str, table: Table) -> Asked {
        let path = version_path(name);
        let Some(version) = missing_is_none(self.api.get(&path, &[]))? else {
            self.find(format!("lost: the dataset {name}"));
            return Ok(());
        };
        if version["rows"] != table.rows {
            self.find(format!("the dataset {name} has {} rows, not {}", version["rows"], table.rows));
        }
        match missing_is_none(self.api.bytes(&format!("{path}/files/0")))? {
            None => self.find(format!("lost: the file of the dataset {name}")),
            Some(bytes) if bytes != table.csv().as_bytes() => {
                self.find(format!("the file of the dataset {name} has other bytes"));
            }
            Some(_) => {}
        }
        Ok(())
    }
}

fn version_path(name: &str) -> String {
    format!("/api/v1/datasets/{name}/versions/1")
}
