//! Whether anybody has been made a user, which each request without a token asks as long as there is nobody.

use crate::IdentityError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// For so long it is believed that there are no users: the first one may be made by another server of the same database.
/// Those that this server makes count at once.
const BELIEVED: Duration = Duration::from_millis(100);

/// What has been seen of users so far.
#[derive(Debug, Default)]
pub(crate) struct UsersSeen {
    /// Users are never all removed, so once seen they need not be looked for again.
    any: AtomicBool,
    nobody: Mutex<Nobody>,
}

#[derive(Debug, Default)]
struct Nobody {
    until: Option<Instant>,
    /// How often this server may have made a user.
    changes: u64,
}

impl UsersSeen {
    /// Whether there are users; `look` asks the database.
    pub(crate) async fn any(
        &self,
        look: impl AsyncFnOnce() -> Result<bool, IdentityError>,
    ) -> Result<bool, IdentityError> {
        if self.any.load(Ordering::Acquire) {
            return Ok(true);
        }
        let began = Instant::now();
        let changes = {
            let nobody = self.nobody.lock().unwrap_or_else(PoisonError::into_inner);
            if nobody.until.is_some_and(|until| began < until) {
                return Ok(false);
            }
            nobody.changes
        };
        let any = look().await?;
        if any {
            self.any.store(true, Ordering::Release);
            return Ok(true);
        }
        let mut nobody = self.nobody.lock().unwrap_or_else(PoisonError::into_inner);
        if nobody.changes == changes {
            nobody.until = Some(began + BELIEVED);
        }
        Ok(false)
    }

    /// This server may have made a user.
    pub(crate) fn changed(&self) {
        let mut nobody = self.nobody.lock().unwrap_or_else(PoisonError::into_inner);
        *nobody = Nobody { until: None, changes: nobody.changes + 1 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    /// A database that counts how often it is looked at.
    #[derive(Default)]
    struct House {
        seen: UsersSeen,
        looks: AtomicU64,
        users: AtomicBool,
    }

    impl House {
        async fn asked(&self, meanwhile: impl FnOnce()) -> bool {
            let look = async || {
                let any = self.users.load(Ordering::SeqCst);
                self.looks.fetch_add(1, Ordering::SeqCst);
                meanwhile();
                Ok(any)
            };
            self.seen.any(look).await.unwrap()
        }

        fn looks(&self) -> u64 {
            self.looks.load(Ordering::SeqCst)
        }
    }

    #[tokio::test]
    async fn nobody_is_believed_for_a_while_and_not_when_this_server_makes_a_user() {
        let house = House::default();
        assert!(!house.asked(|| {}).await);
        let believed = Instant::now();
        while believed.elapsed() < BELIEVED / 4 {
            assert!(!house.asked(|| {}).await);
        }
        assert!(house.looks() <= 2);
        // Somebody else makes the first user: it is seen in the end.
        house.users.store(true, Ordering::SeqCst);
        while !house.asked(|| {}).await {
            assert!(believed.elapsed() < 100 * BELIEVED);
        }
        let looks = house.looks();
        assert!(house.asked(|| {}).await);
        assert_eq!(house.looks(), looks, "who is there stays");
    }

    #[tokio::test]
    async fn a_look_from_before_a_user_was_made_is_not_believed() {
        let house = House::default();
        let made = || {
            house.users.store(true, Ordering::SeqCst);
            house.seen.changed();
        };
        assert!(!house.asked(made).await, "it was asked before");
        assert!(house.asked(|| {}).await);

        let house = House::default();
        assert!(!house.asked(|| {}).await);
        house.users.store(true, Ordering::SeqCst);
        house.seen.changed();
        assert!(house.asked(|| {}).await, "at once");
    }
}
