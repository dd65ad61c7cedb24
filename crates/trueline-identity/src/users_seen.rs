//! Whether anybody has been made a user. Without users each request asks that, so one look at the database answers all who
//! asked before it began.

use crate::IdentityError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::Mutex;

/// What has been seen of users so far.
#[derive(Debug, Default)]
pub(crate) struct UsersSeen {
    /// Users are never all removed, so once seen they need not be looked for again.
    any: AtomicBool,
    /// How many looks have begun.
    begun: AtomicU64,
    /// The number of the last look that found nobody. Whoever holds it is the one who looks.
    nobody: Mutex<u64>,
}

impl UsersSeen {
    /// Whether there are users, at a time after this was called; `look` asks the database.
    pub(crate) async fn any(
        &self,
        look: impl AsyncFnOnce() -> Result<bool, IdentityError>,
    ) -> Result<bool, IdentityError> {
        let begun = self.begun.load(Ordering::SeqCst);
        if self.any.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let mut nobody = self.nobody.lock().await;
        if self.any.load(Ordering::Relaxed) {
            return Ok(true);
        }
        if *nobody > begun {
            return Ok(false);
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let any = look().await?;
        match any {
            true => self.any.store(true, Ordering::Relaxed),
            false => *nobody = number,
        }
        Ok(any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::sync::{Notify, oneshot};

    /// A database that counts how often it is looked at, and answers when it is told to.
    #[derive(Default)]
    struct House {
        seen: UsersSeen,
        looks: AtomicU64,
        users: AtomicBool,
        answer: Notify,
    }

    impl House {
        async fn ask(&self) -> bool {
            let look = async || {
                let any = self.users.load(Ordering::SeqCst);
                self.looks.fetch_add(1, Ordering::SeqCst);
                self.answer.notified().await;
                Ok(any)
            };
            self.seen.any(look).await.unwrap()
        }
    }

    #[tokio::test]
    async fn one_look_answers_all_who_asked_before_it_and_none_who_asked_after() {
        let house = Arc::new(House::default());
        let ask = |house: &Arc<House>| {
            let (house, (begun, waits)) = (Arc::clone(house), oneshot::channel());
            let asked = tokio::spawn(async move {
                let _ = begun.send(());
                house.ask().await
            });
            (asked, waits)
        };
        let (first, waits) = ask(&house);
        waits.await.unwrap();
        // These come while the first look is under way, which may not have seen what was before them.
        let later: Vec<_> = (0..20).map(|_| ask(&house)).collect();
        let mut asked = vec![first];
        for (one, waits) in later {
            waits.await.unwrap();
            asked.push(one);
        }
        house.users.store(true, Ordering::SeqCst);
        for _ in 0..2 {
            house.answer.notify_one();
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let mut answers = Vec::new();
        for one in asked {
            answers.push(one.await.unwrap());
        }
        assert_eq!(
            answers.iter().filter(|any| !**any).count(),
            1,
            "only the first asked before there were users"
        );
        assert_eq!(house.looks.load(Ordering::SeqCst), 2);
        assert!(house.ask().await, "nobody looks any more");
        assert_eq!(house.looks.load(Ordering::SeqCst), 2);
    }
}
