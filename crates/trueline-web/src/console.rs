//! The console output of a run, as text with colours: which files hold it, its last lines, and what the codes in it mean.
//! Codes that move a cursor are left out; a line that was written over and over (a progress bar) is as it was last.

use askama::Template;
use askama::filters::HtmlSafe;

/// Files at the root of a run's artifacts that hold its output: what clients upload, and W&B's `output.log`.
pub(crate) const NAMES: [&str; 4] = ["output.log", "stdout.log", "stderr.log", "console.log"];
/// Below this folder, every file with this ending does.
pub(crate) const FOLDER: &str = "logs";
const ENDING: &str = ".log";
/// Bytes of the end that are shown.
pub(crate) const TAIL: u64 = 256 << 10;
/// Lines of the end that are shown.
const LINES: usize = 2000;

/// Whether a file in the folder of logs holds output.
pub(crate) fn is_log(name: &str) -> bool {
    name.ends_with(ENDING)
}

/// A stretch of text in one colour.
#[derive(Clone, Debug, Default, PartialEq, Eq, Template)]
#[template(
    ext = "html",
    source = r#"{% if class.is_empty() %}{{ text }}{% else %}<span class="{{ class }}">{{ text }}</span>{% endif %}"#
)]
pub struct Stretch {
    /// The classes of its colour and weight; empty for plain text.
    pub class: String,
    /// The text.
    pub text: String,
}

impl HtmlSafe for Stretch {}

/// How text is written from here on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Style {
    /// One of the sixteen colours of terminals.
    colour: Option<u8>,
    bold: bool,
    faint: bool,
}

impl Style {
    fn class(self) -> String {
        const COLOURS: [&str; 8] = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];
        let colour = self.colour.map(|c| format!("ansi-{}", COLOURS[usize::from(c % 8)]));
        let bold = self.bold.then(|| "ansi-bold".to_owned());
        let faint = self.faint.then(|| "ansi-faint".to_owned());
        colour.into_iter().chain(bold).chain(faint).collect::<Vec<_>>().join(" ")
    }

    /// Follows the numbers of a code that ends with `m` (ECMA-48, SGR).
    fn follow(&mut self, numbers: &str) {
        let mut codes = numbers.split([';', ':']).map(|n| n.parse::<u16>().unwrap_or(0));
        while let Some(code) = codes.next() {
            match code {
                0 => *self = Self::default(),
                1 => self.bold = true,
                2 => self.faint = true,
                22 => (self.bold, self.faint) = (false, false),
                30..=37 => self.colour = u8::try_from(code - 30).ok(),
                90..=97 => self.colour = u8::try_from(code - 90).ok(),
                39 => self.colour = None,
                // A colour out of 256, or by its parts: of the first only the sixteen usual ones are known here.
                38 | 48 => {
                    let chosen = match codes.next() {
                        Some(5) => codes.next().and_then(|n| u8::try_from(n).ok()).filter(|n| *n < 16),
                        Some(2) => {
                            codes.by_ref().take(3).for_each(drop);
                            None
                        }
                        _ => None,
                    };
                    if code == 38 {
                        self.colour = chosen;
                    }
                }
                _ => {}
            }
        }
    }
}

/// The last lines of an output, of which these are the last bytes.
pub(crate) fn tail(bytes: &[u8], is_cut: bool) -> Vec<Stretch> {
    let text = String::from_utf8_lossy(bytes);
    // What a cut leaves of the first line is no line.
    let text = if is_cut { text.split_once('\n').map_or("", |(_, rest)| rest) } else { &text };
    let lines: Vec<&str> = text.lines().collect();
    let shown = lines.len().saturating_sub(LINES);
    let mut out = Out::default();
    for (at, line) in lines.into_iter().enumerate() {
        out.line(line, at >= shown);
    }
    out.stretches
}

#[derive(Default)]
struct Out {
    style: Style,
    stretches: Vec<Stretch>,
}

impl Out {
    /// Writes a line. One that is not shown may still have set a colour.
    fn line(&mut self, line: &str, shown: bool) {
        let line = line.trim_end_matches('\r');
        let (before, last) = line.rsplit_once('\r').unwrap_or(("", line));
        self.text(before, false);
        self.text(last, shown);
        if shown {
            self.push("\n");
        }
    }

    fn text(&mut self, mut rest: &str, shown: bool) {
        while let Some(at) = rest.find('\u{1b}') {
            let (plain, code) = rest.split_at(at);
            if shown {
                self.push(plain);
            }
            rest = self.code(&code[1..]);
        }
        if shown {
            self.push(rest);
        }
    }

    /// Reads a code behind its escape; answers what comes after it (ECMA-48: `[`, parameters, a final byte; OSC: `]` up to a
    /// bell or an escape).
    fn code<'t>(&mut self, code: &'t str) -> &'t str {
        if let Some(body) = code.strip_prefix('[') {
            let Some(end) = body.find(|c: char| ('\u{40}'..='\u{7e}').contains(&c)) else { return "" };
            if body.as_bytes()[end] == b'm' {
                self.style.follow(&body[..end]);
            }
            return &body[end + 1..];
        }
        if let Some(body) = code.strip_prefix(']') {
            return match body.find(['\u{7}', '\u{1b}']) {
                Some(end) if body.as_bytes()[end] == 7 => &body[end + 1..],
                Some(end) => body[end + 1..].strip_prefix('\\').unwrap_or(&body[end + 1..]),
                None => "",
            };
        }
        let mut letters = code.chars();
        letters.next();
        letters.as_str()
    }

    fn push(&mut self, text: &str) {
        let text: String = text.chars().filter(|c| matches!(c, '\n' | '\t') || !c.is_control()).collect();
        if text.is_empty() {
            return;
        }
        let class = self.style.class();
        match self.stretches.last_mut() {
            Some(last) if last.class == class => last.text.push_str(&text),
            _ => self.stretches.push(Stretch { class, text }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<(String, String)> {
        tail(text.as_bytes(), false).into_iter().map(|s| (s.class, s.text)).collect()
    }

    fn plain(text: &str) -> String {
        tail(text.as_bytes(), false).into_iter().map(|s| s.text).collect()
    }

    #[test]
    fn colours_are_kept_until_they_are_taken_back() {
        let pair = |class: &str, text: &str| (class.to_owned(), text.to_owned());
        assert_eq!(
            told("a \u{1b}[1;31mbad\u{1b}[0m b\n\u{1b}[92mgood"),
            [
                pair("", "a "),
                pair("ansi-red ansi-bold", "bad"),
                pair("", " b\n"),
                pair("ansi-green", "good\n")
            ]
        );
        assert_eq!(told("\u{1b}[38;5;4mx\u{1b}[38;2;1;2;3my"), [pair("ansi-blue", "x"), pair("", "y\n")]);
    }

    #[test]
    fn a_progress_bar_is_as_it_was_last_and_codes_that_move_are_left_out() {
        assert_eq!(plain("10%\r50%\r100%\ndone\r\n"), "100%\ndone\n");
        assert_eq!(plain("\u{1b}[2K\u{1b}[1Aup\u{1b}]0;title\u{7}!\u{8}"), "up!\n");
        assert_eq!(plain("\u{1b}["), "\n");
    }

    #[test]
    fn only_the_end_is_shown_and_no_half_line() {
        let long = "line\n".repeat(LINES + 10);
        assert_eq!(plain(&long).lines().count(), LINES);
        let cut = tail(b"lf a line\nwhole\n", true);
        assert_eq!(cut[0].text, "whole\n");
    }

    #[test]
    fn what_was_printed_is_text_whatever_it_looks_like() {
        let html = Stretch { class: "ansi-red".into(), text: "<script>".into() }.render().unwrap();
        assert_eq!(html, r#"<span class="ansi-red">&#60;script&#62;</span>"#);
    }
}
