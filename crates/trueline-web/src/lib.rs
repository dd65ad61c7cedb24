//! The face that renders: plain view models in, HTML out. What a page shows is fetched by the handlers; what a
//! page looks like is decided here, once, by its template, the parts in [`parts`] and one style sheet.
//!
//! ```text
//! handler ──► pages::RunPage { shell: Shell, … } ──► templates/run.html ──► HTML
//!                                      └ shell.to: Links, the one place that knows where pages live
//! assets() ──► /assets/<hash>/app.css …              embedded, immutable, named by their content
//! ```
//!
//! Every text is escaped by askama. No page needs JavaScript to be read, and none holds inline styles or scripts,
//! so that `Content-Security-Policy: default-src 'self'` holds.

pub mod assets;
pub mod console;
pub mod format;
mod handlers;
pub mod links;
pub mod pages;
pub mod parts;
mod preview;
pub mod rate_chart;
pub mod shell;
pub mod snippets;
pub mod words;

pub use assets::assets;
pub use handlers::{TOKEN_COOKIE, Web, router};
pub use links::{Links, ViewUrl};
pub use shell::{Caller, Crumb, Section, Shell};
