//! When what is sent. Event time is cut into windows:
//!
//! ```text
//! event time ──┬───────────── window ─────────────┬──────────── window ────────────┬──
//!   features   ▲ all with time <= start           ▲ those that came since          ▲
//!   labels     ▲ all due <= start                 ▲                                ▲
//!   questions    ├─ all of the window, in flight ─┤├─ after all before are answered
//! ```
//!
//! Features and labels that become known within a window wait for the next one. So a question may see a feature up to one
//! window late, but never early, and the server never hears of a label before it was known.

use super::table::{Asked, Feed, text_of_time};
use std::collections::HashMap;
use std::ops::Range;

/// The rest of a replay.
pub(super) struct Timeline {
    pub(super) rows: Vec<Asked>,
    pub(super) feeds: Vec<Feed>,
    /// Of each endpoint and row, the id of the prediction.
    ids: Vec<Vec<Option<Box<str>>>>,
    window_us: i64,
    next_row: usize,
    next_told: Vec<usize>,
    /// When each label is told, and its row, in that order.
    labels: Vec<(i64, usize)>,
    next_label: usize,
}

/// Rows whose event times lie between `start_us`, included, and the end of the window, not included.
pub(super) struct Window {
    pub(super) start_us: i64,
    rows: Range<usize>,
}

/// A row and the endpoint that is asked about it, by their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Question {
    pub(super) row: usize,
    pub(super) endpoint: usize,
}

impl Timeline {
    /// Of rows and feeds in the order of their times, for so many endpoints.
    pub(super) fn new(rows: Vec<Asked>, feeds: Vec<Feed>, window_us: i64, endpoints: usize) -> Self {
        // Nobody can be told the truth about a question before it was asked.
        let due = |(i, row): (usize, &Asked)| Some((row.truth.as_ref()?.at_us.max(row.at_us + 1), i));
        let mut labels: Vec<(i64, usize)> = rows.iter().enumerate().filter_map(due).collect();
        labels.sort_unstable();
        Self {
            ids: vec![vec![None; rows.len()]; endpoints],
            next_told: vec![0; feeds.len()],
            rows,
            feeds,
            window_us: window_us.max(1),
            next_row: 0,
            labels,
            next_label: 0,
        }
    }

    /// Takes predictions of an earlier replay, by their endpoint and the number of their row.
    pub(super) fn take_known(&mut self, mut known: HashMap<(usize, u64), Box<str>>) {
        for (endpoint, ids) in self.ids.iter_mut().enumerate() {
            for (id, row) in ids.iter_mut().zip(&self.rows) {
                *id = known.remove(&(endpoint, row.number));
            }
        }
    }

    /// Takes the id of an answer.
    pub(super) fn take(&mut self, question: Question, id: String) {
        self.ids[question.endpoint][question.row] = Some(id.into());
    }

    /// How many questions are not answered.
    pub(super) fn predictions_to_make(&self) -> usize {
        self.ids.iter().flatten().filter(|id| id.is_none()).count()
    }

    /// The next window that has rows; empty ones are passed over.
    pub(super) fn next_window(&mut self) -> Option<Window> {
        let first = self.rows.get(self.next_row)?;
        let start_us = first.at_us.div_euclid(self.window_us) * self.window_us;
        let length =
            self.rows[self.next_row..].partition_point(|r| r.at_us < start_us.saturating_add(self.window_us));
        let rows = self.next_row..self.next_row + length;
        self.next_row = rows.end;
        Some(Window { start_us, rows })
    }

    /// Of each feed, the rows that have become known since the window before.
    pub(super) fn known_features(&mut self, window: &Window) -> Vec<(usize, Range<usize>)> {
        let mut known = Vec::new();
        for (i, (feed, next)) in self.feeds.iter().zip(&mut self.next_told).enumerate() {
            let range = *next..*next + feed.rows[*next..].partition_point(|r| r.at_us <= window.start_us);
            *next = range.end;
            if !range.is_empty() {
                known.push((i, range));
            }
        }
        known
    }

    /// Rows whose labels have become due since the window before.
    pub(super) fn known_labels(&mut self, window: &Window) -> Vec<usize> {
        self.labels_until(window.start_us)
    }

    /// Labels that are due after the last window, a window's worth at a time.
    pub(super) fn last_labels(&mut self) -> Vec<Vec<usize>> {
        let mut all = Vec::new();
        while let Some((due, _)) = self.labels.get(self.next_label) {
            all.push(self.labels_until(due.saturating_add(self.window_us)));
        }
        all
    }

    fn labels_until(&mut self, time_us: i64) -> Vec<usize> {
        let rest = &self.labels[self.next_label..];
        let due = &rest[..rest.partition_point(|(due, _)| *due <= time_us)];
        self.next_label += due.len();
        due.iter().map(|(_, row)| *row).collect()
    }

    /// Questions of the window that have no answer yet, by row and then by endpoint.
    pub(super) fn to_ask(&self, window: &Window) -> Vec<Question> {
        let endpoints = 0..self.ids.len();
        let of_row = |row| endpoints.clone().map(move |endpoint| Question { row, endpoint });
        window.rows.clone().flat_map(of_row).filter(|q| self.ids[q.endpoint][q.row].is_none()).collect()
    }

    /// The label of a question as JSON; `None` when it was not answered.
    pub(super) fn label(&self, Question { row, endpoint }: Question) -> Option<String> {
        let id = self.ids[endpoint][row].as_ref()?;
        let truth = self.rows[row].truth.as_ref()?;
        let time = text_of_time(truth.at_us);
        Some(format!(
            "{{\"prediction_id\":\"{id}\",\"value\":{},\"event_time\":\"{time}\",\"source\":\"replay\"}}",
            truth.value
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::{Told, Truth};
    use super::*;
    use proptest::prelude::*;

    fn asked(number: u64, at_us: i64, truth: Option<i64>) -> Asked {
        let truth = truth.map(|at_us| Truth { at_us, value: "1".into() });
        Asked { number, at_us, record: "{}".into(), key: None, truth }
    }

    fn feed(times: &[i64]) -> Feed {
        let told = |at_us: &i64| Told { at_us: *at_us, record: "{}".into() };
        Feed { view: "v".to_owned(), rows: times.iter().map(told).collect() }
    }

    #[test]
    fn what_becomes_known_within_a_window_waits_for_the_next() {
        let rows =
            vec![asked(0, 11, Some(12)), asked(1, 19, Some(25)), asked(2, 20, None), asked(3, 55, Some(90))];
        let mut timeline = Timeline::new(rows, vec![feed(&[3, 10, 11, 20, 21, 99])], 10, 1);
        let mut seen = Vec::new();
        while let Some(window) = timeline.next_window() {
            let features = timeline.known_features(&window);
            let asked: Vec<usize> = timeline.to_ask(&window).iter().map(|q| q.row).collect();
            seen.push((window.start_us, features, timeline.known_labels(&window), asked));
        }
        let expected = vec![
            (10, vec![(0, 0..2)], vec![], vec![0, 1]),
            (20, vec![(0, 2..4)], vec![0], vec![2]),
            (50, vec![(0, 4..5)], vec![1], vec![3]),
        ];
        assert_eq!(seen, expected);
        assert_eq!(timeline.last_labels(), vec![vec![3]]);
    }

    #[test]
    fn a_resumed_replay_asks_no_question_twice_and_can_tell_its_label() {
        let mut timeline = Timeline::new(vec![asked(7, 11, Some(0)), asked(8, 12, None)], Vec::new(), 10, 2);
        timeline.take_known(HashMap::from([((0, 7), Box::from("ab")), ((1, 8), Box::from("cd"))]));
        let window = timeline.next_window().unwrap();
        let question = |row, endpoint| Question { row, endpoint };
        assert_eq!(timeline.predictions_to_make(), 2);
        assert_eq!(timeline.to_ask(&window), vec![question(0, 1), question(1, 0)]);
        assert!(timeline.label(question(0, 0)).unwrap().contains(r#""prediction_id":"ab","value":1"#));
        assert_eq!(timeline.label(question(0, 1)), None);
    }

    proptest! {
        #[test]
        fn nothing_is_seen_early_nor_more_than_a_window_late_and_nothing_is_lost(
            mut times in prop::collection::vec((-50_i64..200, prop::option::of(0_i64..60)), 1..40),
            mut told in prop::collection::vec(-50_i64..250, 0..40), window_us in 1_i64..30,
        ) {
            times.sort_unstable();
            told.sort_unstable();
            let rows: Vec<Asked> = (0..).zip(&times).map(|(i, (at, delay))| asked(i, *at, delay.map(|d| at + d))).collect();
            let labels = rows.iter().filter(|r| r.truth.is_some()).count();
            let count = rows.len();
            let mut timeline = Timeline::new(rows, vec![feed(&told)], window_us, 1);
            let (mut pushed, mut answered, mut labelled) = (0, 0, 0);
            while let Some(window) = timeline.next_window() {
                for (_, range) in timeline.known_features(&window) {
                    prop_assert_eq!(range.start, pushed);
                    pushed = range.end;
                }
                for row in timeline.known_labels(&window) {
                    prop_assert!(timeline.ids[0][row].is_some(), "its question was answered");
                    prop_assert!(timeline.rows[row].truth.as_ref().unwrap().at_us <= window.start_us);
                    labelled += 1;
                }
                for question in timeline.to_ask(&window) {
                    let at = timeline.rows[question.row].at_us;
                    prop_assert!(told[..pushed].iter().all(|t| *t <= at));
                    prop_assert!(told[pushed..].iter().all(|t| *t > at - window_us));
                    timeline.take(question, "x".to_owned());
                    answered += 1;
                }
            }
            labelled += timeline.last_labels().concat().len();
            prop_assert_eq!((answered, labelled), (count, labels));
        }
    }
}
