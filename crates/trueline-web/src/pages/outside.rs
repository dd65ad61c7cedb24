//! Pages that also those see who are not signed in: an error, and the sign-in.

use crate::shell::Shell;
use askama::Template;

/// What went wrong, as the problem document of the API has it.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// What happened, in a few words.
    pub title: String,
    /// Why, as a sentence.
    pub detail: String,
    /// What to do, as a sentence; may be empty.
    pub what_to_do: String,
    /// A command that does it, when there is one.
    pub command: Option<String>,
    /// The stable code; its page is linked.
    pub code: String,
}

/// Something went wrong. `shell.request_id` is shown, for the log.
#[derive(Clone, Debug, Template)]
#[template(path = "error.html")]
pub struct ErrorPage {
    /// What all pages share.
    pub shell: Shell,
    /// What went wrong.
    pub problem: Problem,
}

/// Where a token is pasted; POSTed as `token` with `next`. The secret is never given back to the page.
#[derive(Clone, Debug, Template)]
#[template(path = "sign_in.html")]
pub struct SignInPage {
    /// What all pages share, without a caller.
    pub shell: Shell,
    /// The path to go on to; the handler must have checked that it is one of this server.
    pub next: String,
    /// Why the last try failed, as a sentence.
    pub problem: Option<String>,
}
