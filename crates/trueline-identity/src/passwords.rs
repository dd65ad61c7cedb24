//! Users who come with a password. Verifying one is slow on purpose, so what was verified is remembered, by a keyed hash that
//! is worth nothing outside this process, for as long as the stored hash stays the same.

use crate::store::Identity;
use crate::{IdentityError, Role, verify_password};
use ring::hmac;
use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use tokio::sync::Semaphore;
use trueline_ledger::ProjectId;

/// How many passwords are verified at once; each takes a processor and 19 MiB, more for those that MLflow hashed.
const AT_ONCE: usize = 2;
/// How many verified passwords are remembered.
const REMEMBERED: usize = 10_000;
/// Verified when there is no such user, so that the time does not tell who exists.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[derive(Clone, Debug)]
pub(crate) struct Passwords {
    identity: Identity,
    key: hmac::Key,
    /// The stored hash that a password was verified against.
    verified: Arc<RwLock<HashMap<String, String>>>,
    gate: Arc<Semaphore>,
}

impl Passwords {
    pub(crate) fn new(identity: Identity) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &identity.ledger().sources().bytes::<32>());
        Self { identity, key, verified: Arc::default(), gate: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Under what a user with a password is remembered.
    pub(crate) fn key(&self, user: &str, password: &str) -> String {
        // A user's name holds no NUL.
        hex::encode(hmac::sign(&self.key, format!("{user}\0{password}").as_bytes()))
    }

    /// The user, when the password is right.
    pub(crate) async fn user_with(
        &self,
        user: &str,
        password: &str,
        key: &str,
    ) -> Result<(String, Vec<(ProjectId, Role)>), IdentityError> {
        let stored = self.identity.password_of(user).await?;
        let known = stored.is_some() && self.verified.read().is_ok_and(|v| v.get(key) == stored.as_ref());
        if !known && !self.verify(stored.clone(), password).await? {
            return Err(IdentityError::Unauthenticated(
                "the user is not known or the password is wrong".to_owned(),
            ));
        }
        if let (Some(stored), Ok(mut verified)) = (stored, self.verified.write()) {
            if verified.len() >= REMEMBERED {
                verified.clear();
            }
            verified.insert(key.to_owned(), stored);
        }
        let grants = self.identity.roles_granted_to(user).await?;
        Ok((user.to_owned(), grants))
    }

    async fn verify(&self, stored: Option<String>, password: &str) -> Result<bool, IdentityError> {
        let failed =
            |e: &dyn std::fmt::Display| IdentityError::Policy(format!("a password can't be verified: {e}"));
        let _place = self.gate.acquire().await.map_err(|e| failed(&e))?;
        let password = password.to_owned();
        let verify =
            move || verify_password(stored.as_deref().unwrap_or(NOBODY), &password) && stored.is_some();
        tokio::task::spawn_blocking(verify).await.map_err(|e| failed(&e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_for_nobody_takes_the_time_of_a_password() {
        assert!(argon2::password_hash::PasswordHash::new(NOBODY).is_ok());
        assert!(!verify_password(NOBODY, ""));
    }
}
