//! From the ids that the lineage knows versions by to the names that people know them by.

use crate::model::VersionKey;
use crate::{Registry, RegistryError};
use std::collections::BTreeMap;
use trueline_identity::{Authorized, ReadProject};

impl Registry {
    /// The versions with these ids; deleted ones are not among them.
    ///
    /// # Errors
    /// What the database says.
    pub async fn versions_of_ids(
        &self,
        leave: &Authorized<ReadProject>,
        ids: Vec<String>,
    ) -> Result<BTreeMap<String, VersionKey>, RegistryError> {
        let project = leave.project().clone();
        self.ledger
            .db()
            .read(move |tx| {
                if ids.is_empty() {
                    return Ok(BTreeMap::new());
                }
                let mut params: Vec<trueline_db::Value> = vec![(&project).into()];
                params.extend(ids.iter().map(trueline_db::Value::from));
                let places: Vec<String> = (2..=params.len()).map(|n| format!("?{n}")).collect();
                let sql = format!(
                    "SELECT id, name, version FROM model_versions
                     WHERE project = ?1 AND lifecycle = 'active' AND id IN ({})",
                    places.join(", ")
                );
                let found = tx.query(&sql, &params)?.into_iter();
                found
                    .map(|mut row| Ok((row.take(0)?, VersionKey::new(row.take::<String>(1)?, row.take(2)?))))
                    .collect()
            })
            .await
    }
}
