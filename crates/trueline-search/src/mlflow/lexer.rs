//! Text to tokens, cut where sqlparse cuts it: MLflow hands filters to that library, so its odd corners (`1e+3` is a
//! sum, `#` starts a comment only before a space, `12e` is a number and a word) are part of the grammar.
//!
//! Left out, since no accepted filter holds them: dollar-quoted text, `JOIN` and loop phrases, digits beyond ASCII.

use std::collections::HashMap;
use std::sync::LazyLock;

/// What a token is; the names are sqlparse's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A space or a tab.
    Space,
    /// A line end.
    Newline,
    /// `-- …`, `# …` or `/* … */`.
    Comment,
    /// A bare or backquoted word that is not reserved.
    Name,
    /// The name of an SQL type, such as `timestamp` and `text`.
    Builtin,
    /// A reserved word.
    Keyword,
    /// `ASC` and `DESC`, with `NULLS FIRST` or `NULLS LAST`.
    Order,
    /// A reserved word that starts a statement, such as `SELECT`.
    Statement,
    /// Digits.
    Integer,
    /// Digits with a point or an exponent.
    Float,
    /// `0x1F`.
    Hex,
    /// `'…'`.
    Single,
    /// `"…"`.
    Symbol,
    /// `?`, `:name`, `$1`, `%s`.
    Placeholder,
    /// `=`, `<=`, `LIKE`, `NOT ILIKE`, and any other run of `<>=~!`.
    Comparison,
    /// `+`, `/`, `->` and the like.
    Operator,
    /// `*`.
    Wildcard,
    /// `:=`.
    Assignment,
    /// One of `; : ( ) [ ] , .`, or `::`.
    Punctuation,
    /// Anything else.
    Other,
}

/// A token: what it is and the bytes it covers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// The reserved words, from `words.txt`.
static WORDS: LazyLock<HashMap<&'static str, Kind>> = LazyLock::new(|| {
    let mut words = HashMap::new();
    let mut kind = Kind::Keyword;
    for line in include_str!("words.txt").lines() {
        match line.strip_prefix("# ") {
            Some("statement") => kind = Kind::Statement,
            Some("type") => kind = Kind::Builtin,
            Some(_) => kind = Kind::Keyword,
            None => words.extend(line.split_whitespace().map(|word| (word, kind))),
        }
    }
    words
});

/// Phrases that are one token, tried in this order before single words.
const PHRASES: [(&[&str], Kind); 17] = [
    (&["IF", "NOT", "EXISTS"], Kind::Keyword),
    (&["IF", "EXISTS"], Kind::Keyword),
    (&["NOT", "NULL"], Kind::Keyword),
    (&["UNION", "ALL"], Kind::Keyword),
    (&["CREATE", "OR", "REPLACE"], Kind::Statement),
    (&["CREATE"], Kind::Statement),
    (&["END"], Kind::Keyword),
    (&["JOIN"], Kind::Keyword),
    (&["DOUBLE", "PRECISION"], Kind::Builtin),
    (&["GROUP", "BY"], Kind::Keyword),
    (&["ORDER", "BY"], Kind::Keyword),
    (&["PRIMARY", "KEY"], Kind::Keyword),
    (&["NOT", "LIKE"], Kind::Comparison),
    (&["NOT", "ILIKE"], Kind::Comparison),
    (&["NOT", "RLIKE"], Kind::Comparison),
    (&["NOT", "REGEXP"], Kind::Comparison),
    (&["REGEXP", "BINARY"], Kind::Comparison),
];

/// Cuts a text into tokens that cover it without gaps.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { text, at: 0, last_comment_end: text.rfind("*/") };
    let mut tokens = Vec::new();
    while lexer.at < text.len() {
        let (kind, end) = lexer.next();
        tokens.push(Token { kind, start: lexer.at, end });
        lexer.at = end;
    }
    tokens
}

/// What Python's `\s` and `str.isspace` call a space.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// What `[A-ZÀ-Ü]` matches regardless of case.
fn is_letter(c: char) -> bool {
    c.is_ascii_alphabetic() || matches!(c, 'À'..='Ü' | 'à'..='ü') && c != '÷'
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    last_comment_end: Option<usize>,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn before(&self) -> Option<char> {
        self.text[..self.at].chars().next_back()
    }

    /// The kind and the end of the token that starts here; rules are tried in sqlparse's order.
    fn next(&self) -> (Kind, usize) {
        let (kind, len) = self
            .comment()
            .or_else(|| self.space())
            .or_else(|| self.mark())
            .or_else(|| self.placeholder())
            .or_else(|| self.name())
            .or_else(|| self.number())
            .or_else(|| self.quoted())
            .or_else(|| self.phrase())
            .or_else(|| self.word())
            .or_else(|| self.symbols())
            .filter(|(_, len)| *len > 0)
            .unwrap_or((Kind::Other, self.rest().chars().next().map_or(1, char::len_utf8)));
        (kind, self.at + len)
    }

    fn comment(&self) -> Option<(Kind, usize)> {
        let rest = self.rest();
        if rest.starts_with("/*") {
            let body = self.at + 2;
            return match self.last_comment_end {
                Some(last) if last >= body => {
                    self.text[body..].find("*/").map(|len| (Kind::Comment, 2 + len + 2))
                }
                _ => None,
            };
        }
        if !rest.starts_with("--") && !rest.starts_with("# ") {
            return None;
        }
        let body = rest.find(['\r', '\n']).unwrap_or(rest.len());
        let line_end = if rest[body..].starts_with("\r\n") { 2 } else { usize::from(body < rest.len()) };
        Some((Kind::Comment, body + line_end))
    }

    fn space(&self) -> Option<(Kind, usize)> {
        let rest = self.rest();
        let c = rest.chars().next()?;
        match c {
            '\r' if rest.starts_with("\r\n") => Some((Kind::Newline, 2)),
            '\r' | '\n' => Some((Kind::Newline, 1)),
            c if is_space(c) => Some((Kind::Space, c.len_utf8())),
            _ => None,
        }
    }

    /// Assignment, cast, wildcard, and names in backquotes or acute accents.
    fn mark(&self) -> Option<(Kind, usize)> {
        let rest = self.rest();
        if rest.starts_with(":=") {
            Some((Kind::Assignment, 2))
        } else if rest.starts_with("::") {
            Some((Kind::Punctuation, 2))
        } else if rest.starts_with('*') {
            Some((Kind::Wildcard, 1))
        } else {
            ['`', '´']
                .into_iter()
                .filter(|quote| rest.starts_with(*quote))
                .find_map(|quote| quoted_len(rest, quote, false))
                .map(|len| (Kind::Name, len))
        }
    }

    fn placeholder(&self) -> Option<(Kind, usize)> {
        let rest = self.rest();
        let first = rest.chars().next()?;
        match first {
            '?' => return Some((Kind::Placeholder, 1)),
            '%' if rest[1..].starts_with(['s', 'S']) => return Some((Kind::Placeholder, 2)),
            '%' if rest[1..].starts_with('(') => {
                let name = word_len(&rest[2..]);
                let tail = &rest[2 + name..];
                let closed = name > 0 && (tail.starts_with(")s") || tail.starts_with(")S"));
                return closed.then_some((Kind::Placeholder, 2 + name + 2));
            }
            _ => {}
        }
        let name = word_len(&rest[first.len_utf8()..]);
        match first {
            '$' | ':' if name > 0 && !self.before().is_some_and(is_word) => {
                Some((Kind::Placeholder, 1 + name))
            }
            '\\' if name > 0 => Some((Kind::Other, 1 + name)),
            _ => None,
        }
    }

    /// Words whose neighbours decide: `IN`, `a.`, `.b`, `f(`, `@x`.
    fn name(&self) -> Option<(Kind, usize)> {
        let rest = self.rest();
        let len = word_len(rest);
        let word = &rest[..len];
        if ["CASE", "IN", "VALUES", "USING", "FROM", "AS"]
            .iter()
            .any(|reserved| word.eq_ignore_ascii_case(reserved))
        {
            return Some((Kind::Keyword, len));
        }
        for mark in ["@", "##", "#"] {
            let Some(tail) = rest.strip_prefix(mark) else { continue };
            let name = word_len(tail);
            if tail.starts_with(is_letter) && tail[..name].chars().count() > 1 {
                return Some((Kind::Name, mark.len() + name));
            }
        }
        let first = rest.chars().next().filter(|c| is_letter(*c))?.len_utf8();
        // `×` lies among the letters of the pattern, but is no part of a word.
        let len = first + word_len(&rest[first..]);
        let after = &rest[len..];
        let member = after.trim_start_matches(is_space).strip_prefix('.');
        let has_member = member.is_some_and(|tail| !tail.starts_with(|c: char| c.is_ascii_digit()));
        (has_member || self.before() == Some('.') || after.starts_with('(')).then_some((Kind::Name, len))
    }

    fn number(&self) -> Option<(Kind, usize)> {
        let rest = self.rest();
        let sign = usize::from(rest.starts_with('-'));
        let body = &rest[sign..];
        if let Some(hex) = body.strip_prefix("0x").or_else(|| body.strip_prefix("0X")) {
            let digits = run(hex, |c| c.is_ascii_hexdigit());
            if digits > 0 {
                return Some((Kind::Hex, sign + 2 + digits));
            }
        }
        let whole = run(body, |c| c.is_ascii_digit());
        if let Some(len) = scientific_len(body, whole) {
            return Some((Kind::Float, sign + len));
        }
        // A number does not end where a letter follows: it gives back digits until it can.
        let ends_well = |len: usize| !body[len..].starts_with(|c: char| is_letter(c) || c == '_');
        if let Some(fraction) = body[whole..].strip_prefix('.') {
            let digits = run(fraction, |c| c.is_ascii_digit());
            let least = whole + 1 + usize::from(whole == 0);
            if let Some(len) = (least..=whole + 1 + digits).rev().find(|len| ends_well(*len)) {
                return Some((Kind::Float, sign + len));
            }
        }
        (1..=whole).rev().find(|len| ends_well(*len)).map(|len| (Kind::Integer, sign + len))
    }

    fn quoted(&self) -> Option<(Kind, usize)> {
        let rest = self.rest();
        match rest.chars().next()? {
            '\'' => quoted_len(rest, '\'', true).map(|len| (Kind::Single, len)),
            '"' => quoted_len(rest, '"', true).map(|len| (Kind::Symbol, len)),
            '[' if !self.before().is_some_and(|c| is_word(c) || matches!(c, ']' | ')')) => {
                let len = run(&rest[1..], |c| c != '[' && c != ']');
                (len > 0 && rest[1 + len..].starts_with(']')).then_some((Kind::Name, len + 2))
            }
            _ => None,
        }
    }

    fn phrase(&self) -> Option<(Kind, usize)> {
        let rest = self.rest();
        let first = word_len(rest);
        if ["ASC", "DESC"].iter().any(|word| rest[..first].eq_ignore_ascii_case(word)) {
            let nulls =
                ["FIRST", "LAST"].iter().find_map(|end| phrase_len(&rest[first..], &["", "NULLS", end]));
            return Some((Kind::Order, first + nulls.unwrap_or(0)));
        }
        if ["LIKE", "ILIKE", "RLIKE"].iter().any(|word| rest[..first].eq_ignore_ascii_case(word)) {
            return Some((Kind::Comparison, first));
        }
        for end in ["FIRST", "LAST"] {
            if let Some(len) = phrase_len(rest, &["NULLS", end]) {
                return Some((Kind::Order, len));
            }
        }
        if let Some((kind, len)) =
            PHRASES.iter().find_map(|(words, kind)| phrase_len(rest, words).map(|len| (*kind, len)))
        {
            return Some((kind, len));
        }
        rest[..first].eq_ignore_ascii_case("REGEXP").then_some((Kind::Comparison, first))
    }

    fn word(&self) -> Option<(Kind, usize)> {
        let rest = self.rest();
        if !rest.starts_with(is_word) {
            return None;
        }
        let len = run(rest, |c| is_word(c) || c == '$' || c == '#');
        let kind = WORDS.get(rest[..len].to_uppercase().as_str()).copied().unwrap_or(Kind::Name);
        Some((kind, len))
    }

    fn symbols(&self) -> Option<(Kind, usize)> {
        let rest = self.rest();
        if rest.starts_with([';', ':', '(', ')', '[', ']', ',', '.']) {
            return Some((Kind::Punctuation, 1));
        }
        for operator in ["->>", "->", "#>>", "#>", "@>", "<@", "-", "#-"] {
            if rest.starts_with(operator) {
                return Some((Kind::Operator, operator.len()));
            }
        }
        let compares = run(rest, |c| "<>=~!".contains(c));
        if compares > 0 {
            return Some((Kind::Comparison, compares));
        }
        let operates = run(rest, |c| "+/@#%^&|-".contains(c));
        (operates > 0).then_some((Kind::Operator, operates))
    }
}

/// The bytes of the longest start of which every character is wanted.
fn run(text: &str, wanted: impl Fn(char) -> bool) -> usize {
    text.find(|c| !wanted(c)).unwrap_or(text.len())
}

fn word_len(text: &str) -> usize {
    run(text, is_word)
}

/// The bytes of a phrase, its words apart by any space, ended by a word's end.
fn phrase_len(text: &str, words: &[&str]) -> Option<usize> {
    let mut at = 0;
    for (i, word) in words.iter().enumerate() {
        if i > 0 {
            let gap = run(&text[at..], is_space);
            if gap == 0 {
                return None;
            }
            at += gap;
        }
        let len = word_len(&text[at..]);
        if !text[at..at + len].eq_ignore_ascii_case(word) {
            return None;
        }
        at += len;
    }
    Some(at)
}

/// `1e3`, `1.5e-3`: only a minus may stand before the exponent.
fn scientific_len(body: &str, whole: usize) -> Option<usize> {
    if whole == 0 {
        return None;
    }
    let fraction = match body[whole..].strip_prefix('.') {
        Some(tail) => match run(tail, |c| c.is_ascii_digit()) {
            0 => 0,
            digits => 1 + digits,
        },
        None => 0,
    };
    let exponent = body[whole + fraction..].strip_prefix(['e', 'E'])?;
    let sign = usize::from(exponent.starts_with('-'));
    let digits = run(&exponent[sign..], |c| c.is_ascii_digit());
    (digits > 0).then_some(whole + fraction + 1 + sign + digits)
}

/// The bytes of a quoted run. A doubled quote, and a backslashed one where `escapes` says so, goes on; when that finds
/// no end, the last such quote was the end after all.
fn quoted_len(text: &str, quote: char, escapes: bool) -> Option<usize> {
    let width = quote.len_utf8();
    let mut fallback = None;
    let mut at = width;
    loop {
        let rest = &text[at..];
        let next = rest.find(|c| c == quote || escapes && c == '\\');
        let Some(next) = next else { return fallback };
        at += next;
        let rest = &text[at..];
        if let Some(tail) = rest.strip_prefix('\\') {
            at += 1;
            if tail.starts_with(quote) {
                at += width;
                fallback = Some(at);
            }
        } else if rest[width..].starts_with(quote) {
            fallback = Some(at + width);
            at += 2 * width;
        } else {
            return Some(at + width);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<(Kind, &str)> {
        tokens(text)
            .iter()
            .filter(|t| t.kind != Kind::Space)
            .map(|t| (t.kind, &text[t.start..t.end]))
            .collect()
    }

    #[test]
    fn reserved_words_are_names_beside_a_dot() {
        assert_eq!(
            cut("order metrics.order order.x"),
            [
                (Kind::Keyword, "order"),
                (Kind::Name, "metrics"),
                (Kind::Punctuation, "."),
                (Kind::Name, "order"),
                (Kind::Name, "order"),
                (Kind::Punctuation, "."),
                (Kind::Name, "x"),
            ]
        );
    }

    #[test]
    fn numbers_give_back_digits_before_a_letter() {
        assert_eq!(cut("12e"), [(Kind::Integer, "1"), (Kind::Name, "2e")]);
        assert_eq!(cut("1e3"), [(Kind::Float, "1e3")]);
        assert_eq!(cut("1e+3"), [(Kind::Name, "1e"), (Kind::Operator, "+"), (Kind::Integer, "3")]);
        assert_eq!(cut("-.5"), [(Kind::Float, "-.5")]);
    }

    #[test]
    fn an_unclosed_quote_ends_at_the_last_doubled_one() {
        assert_eq!(cut("'a''b"), [(Kind::Single, "'a'"), (Kind::Other, "'"), (Kind::Name, "b")]);
        assert_eq!(cut(r"'a\'b'"), [(Kind::Single, r"'a\'b'")]);
    }
}
