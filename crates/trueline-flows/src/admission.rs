//! Who may ask endpoints, told to the data plane so that it need not ask the database.

use crate::Access;
use trueline_identity::{Action, Caller, IdentityError, Predict, Replay};
use trueline_ledger::ProjectId;
use trueline_serving::Grant;

impl Access {
    /// Who may ask endpoints now.
    ///
    /// # Errors
    /// What the database says.
    pub async fn admissions(&self) -> Result<trueline_serving::Access, IdentityError> {
        let mut access =
            trueline_serving::Access { open: self.authenticator().is_open().await?, ..Default::default() };
        for holder in self.authenticator().holders().await? {
            let grants: Vec<Grant> = holder
                .caller
                .granted_in()
                .into_iter()
                .filter(|project| self.may::<Predict>(&holder.caller, project))
                .map(|project| Grant { replay: self.may::<Replay>(&holder.caller, &project), project })
                .collect();
            access.tokens.insert(holder.hash, grants);
        }
        Ok(access)
    }

    fn may<A: Action>(&self, caller: &Caller, project: &ProjectId) -> bool {
        self.policy().authorize::<A>(caller, project).is_ok()
    }
}
