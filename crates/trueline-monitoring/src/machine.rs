//! The life of an alert as pure code: pending → firing → resolved. Two levels keep it from flapping; one that is open is
//! not opened again.

use crate::Level;
use serde::{Deserialize, Serialize};

/// Where an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// It breached, but not yet in as many windows in a row as it takes.
    Pending,
    /// It breached for long enough, and has not ended.
    Firing,
    /// It ended. A new breach opens a new alert.
    Resolved,
}

impl AlertState {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }

    /// Reads the word for it.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Pending, Self::Firing, Self::Resolved].into_iter().find(|s| s.as_str() == word)
    }
}

/// An open alert, as far as its next step depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// Whether it fires already.
    pub firing: bool,
    /// Windows in a row that breached, while it is pending.
    pub breaches: u32,
}

/// What a window does to an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Stay,
    /// It goes on being open, having breached so many times in a row.
    Count(u32),
    /// It opens as pending.
    Open,
    /// It fires; it opens with that when there was none.
    Fire,
    /// It ends.
    Resolve,
}

/// What the next window does to what is open of one subject, when it takes `needed` windows in a row to fire.
#[must_use]
pub fn step(open: Option<Open>, level: Level, needed: u32) -> Step {
    match (open, level) {
        (_, Level::Unknown) | (None, Level::Between | Level::Clear) => Step::Stay,
        (None, Level::Breach) if needed <= 1 => Step::Fire,
        (None, Level::Breach) => Step::Open,
        (Some(Open { firing: true, .. }), Level::Clear) => Step::Resolve,
        (Some(Open { firing: true, .. }), _) => Step::Stay,
        (Some(pending), Level::Breach) if pending.breaches + 1 >= needed => Step::Fire,
        (Some(pending), Level::Breach) => Step::Count(pending.breaches + 1),
        // In a row means in a row.
        (Some(_), Level::Between | Level::Clear) => Step::Resolve,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn after(open: Option<Open>, step: Step) -> Option<Open> {
        match step {
            Step::Stay => open,
            Step::Count(breaches) => Some(Open { firing: false, breaches }),
            Step::Open => Some(Open { firing: false, breaches: 1 }),
            Step::Fire => Some(Open { firing: true, breaches: 0 }),
            Step::Resolve => None,
        }
    }

    fn levels() -> impl Strategy<Value = Vec<Level>> {
        let level = prop_oneof![
            3 => Just(Level::Breach), 1 => Just(Level::Between), 1 => Just(Level::Clear), 1 => Just(Level::Unknown)
        ];
        prop::collection::vec(level, 0..60)
    }

    proptest! {
        #[test]
        fn it_fires_after_as_many_breaches_in_a_row_as_it_takes_and_not_before(
            levels in levels(), needed in 1_u32..5
        ) {
            let (mut open, mut in_a_row) = (None, 0);
            for level in levels {
                let was_firing = open.is_some_and(|o: Open| o.firing);
                let step = step(open, level, needed);
                open = after(open, step);
                // The plain words of the rule, with nothing of the machine's in them.
                match level {
                    Level::Breach => in_a_row += 1,
                    Level::Unknown => {}
                    Level::Between | Level::Clear => in_a_row = 0,
                }
                let should_fire = if was_firing { level != Level::Clear } else { in_a_row >= needed };
                prop_assert_eq!(open.is_some_and(|o| o.firing), should_fire);
                if was_firing && level == Level::Clear { in_a_row = 0; }
            }
        }

        #[test]
        fn each_alert_is_opened_once_and_ends_once(levels in levels(), needed in 1_u32..5) {
            let (mut open, mut alive, mut fired) = (None, 0_i32, false);
            for level in levels {
                let step = step(open, level, needed);
                match step {
                    Step::Open => { alive += 1; fired = false; }
                    Step::Fire => {
                        prop_assert!(alive == 0 || !fired, "an alert fired twice");
                        alive = alive.max(1);
                        fired = true;
                    }
                    Step::Resolve => { alive -= 1; fired = false; }
                    Step::Stay | Step::Count(_) => {}
                }
                open = after(open, step);
                prop_assert!((0..=1).contains(&alive));
                prop_assert_eq!(open.is_some(), alive == 1);
            }
        }
    }

    #[test]
    fn between_the_levels_nothing_begins_and_nothing_ends() {
        assert_eq!(step(None, Level::Between, 1), Step::Stay);
        assert_eq!(step(Some(Open { firing: true, breaches: 0 }), Level::Between, 1), Step::Stay);
        assert_eq!(step(Some(Open { firing: true, breaches: 0 }), Level::Unknown, 1), Step::Stay);
    }
}
