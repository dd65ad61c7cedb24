//! Long work: a task is a row before it is started, is leased to one worker with an epoch and a heartbeat, and is
//! adopted by another when its lease runs out. What a task does is its owner's matter.
//!
//! A worker that lost its lease is fenced: [`complete`] and [`fail`] compare the epoch in the same transaction as
//! the work's own result, so a late answer changes nothing.

mod schema;
mod task;
mod worker;

pub use schema::MODULE;
pub use task::{
    Lease, NewTask, State, TaskError, TaskRow, Tasks, complete, enqueue, enqueue_after, fail, give_up,
    still_leased, unfinished,
};
pub use worker::{Handler, Worker};
