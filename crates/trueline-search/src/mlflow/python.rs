//! The bits of Python that show through MLflow's answers: how it reads `('a', 'b')` and how it prints values.

/// A Python literal, as far as one can stand in a filter's list.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Literal {
    Text(String),
    /// A number, `True`, `False` or `None`, as Python prints it.
    Plain(String),
    Tuple(Vec<Literal>),
}

/// The text is not a literal: Python cannot read it, or reads an expression such as a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotLiteral;

/// Reads a literal, as `ast.literal_eval` does.
pub(super) fn literal(text: &str) -> Result<Literal, NotLiteral> {
    let mut reader = Reader { rest: text, depth: 0 };
    let literal = reader.value()?;
    reader.skip_space();
    if reader.rest.is_empty() { Ok(literal) } else { Err(NotLiteral) }
}

/// Python refuses to nest parentheses deeper than this (`MAXSTACK` of its tokenizer).
const MAX_DEPTH: usize = 200;

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

impl Reader<'_> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n', '\u{c}']);
    }

    fn take(&mut self, mark: char) -> bool {
        self.skip_space();
        match self.rest.strip_prefix(mark) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self) -> Result<Literal, NotLiteral> {
        self.skip_space();
        match self.rest.chars().next() {
            Some('(') => self.tuple(),
            Some('\'' | '"') => self.texts(),
            Some(c) if c.is_ascii_digit() || matches!(c, '-' | '+' | '.') => self.number(),
            Some(c) if c.is_alphabetic() || c == '_' => self.word(),
            _ => Err(NotLiteral),
        }
    }

    fn tuple(&mut self) -> Result<Literal, NotLiteral> {
        self.depth += 1;
        if self.depth > MAX_DEPTH || !self.take('(') {
            return Err(NotLiteral);
        }
        let mut members = Vec::new();
        let mut commas = 0;
        while !self.take(')') {
            if members.len() > commas {
                return Err(NotLiteral);
            }
            members.push(self.value()?);
            commas += usize::from(self.take(','));
        }
        self.depth -= 1;
        match (members.pop(), members.is_empty(), commas) {
            (Some(only), true, 0) => Ok(only),
            (last, ..) => {
                members.extend(last);
                Ok(Literal::Tuple(members))
            }
        }
    }

    /// Strings side by side are one string.
    fn texts(&mut self) -> Result<Literal, NotLiteral> {
        let mut whole = String::new();
        while let Some(quote) = self.rest.chars().next().filter(|c| matches!(c, '\'' | '"')) {
            self.rest = &self.rest[1..];
            let triple = [quote, quote].iter().collect::<String>();
            if let Some(rest) = self.rest.strip_prefix(&triple)
                && rest.contains(&format!("{triple}{quote}"))
            {
                self.rest = rest;
                self.text_until(&format!("{triple}{quote}"), &mut whole)?;
            } else {
                self.text_until(&quote.to_string(), &mut whole)?;
            }
            self.skip_space();
        }
        Ok(Literal::Text(whole))
    }

    fn text_until(&mut self, end: &str, into: &mut String) -> Result<(), NotLiteral> {
        loop {
            if let Some(rest) = self.rest.strip_prefix(end) {
                self.rest = rest;
                return Ok(());
            }
            let mut chars = self.rest.chars();
            match chars.next() {
                None => return Err(NotLiteral),
                Some('\n' | '\r') if end.len() == 1 => return Err(NotLiteral),
                Some('\\') => {
                    self.rest = chars.as_str();
                    self.escape(into)?;
                }
                Some(c) => {
                    into.push(c);
                    self.rest = chars.as_str();
                }
            }
        }
    }

    fn escape(&mut self, into: &mut String) -> Result<(), NotLiteral> {
        let mut chars = self.rest.chars();
        let c = chars.next().ok_or(NotLiteral)?;
        let plain = match c {
            '\n' => None,
            '\\' | '\'' | '"' => Some(c),
            'a' => Some('\u{7}'),
            'b' => Some('\u{8}'),
            'f' => Some('\u{c}'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'v' => Some('\u{b}'),
            'x' => return self.code(into, 1, 2, 16),
            'u' => return self.code(into, 1, 4, 16),
            'U' => return self.code(into, 1, 8, 16),
            '0'..='7' => {
                let digits = self.rest.bytes().take(3).take_while(|b| matches!(b, b'0'..=b'7')).count();
                return self.code(into, 0, digits, 8);
            }
            other => {
                into.push('\\');
                Some(other)
            }
        };
        into.extend(plain);
        self.rest = chars.as_str();
        Ok(())
    }

    fn code(&mut self, into: &mut String, skip: usize, digits: usize, radix: u32) -> Result<(), NotLiteral> {
        let code = self.rest.get(skip..skip + digits).ok_or(NotLiteral)?;
        if !code.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(NotLiteral);
        }
        let code = u32::from_str_radix(code, radix).map_err(|_| NotLiteral)?;
        into.push(char::from_u32(code).ok_or(NotLiteral)?);
        self.rest = &self.rest[skip + digits..];
        Ok(())
    }

    fn number(&mut self) -> Result<Literal, NotLiteral> {
        let negative = self.rest.starts_with('-');
        self.rest = self.rest.trim_start_matches(['-', '+']);
        let mut len = 0;
        for (at, c) in self.rest.char_indices() {
            let exponent_sign = matches!(c, '-' | '+') && self.rest[..at].ends_with(['e', 'E']);
            if !(c.is_ascii_alphanumeric() || c == '.' || exponent_sign) {
                break;
            }
            len = at + 1;
        }
        let (text, rest) = self.rest.split_at(len);
        self.rest = rest;
        let sign = if negative { "-" } else { "" };
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            let digits = text.trim_start_matches('0');
            return match (digits.is_empty(), digits.len() == text.len()) {
                (true, _) => Ok(Literal::Plain("0".to_owned())),
                (false, true) => Ok(Literal::Plain(format!("{sign}{digits}"))),
                (false, false) => Err(NotLiteral),
            };
        }
        let real: f64 = text.parse().map_err(|_| NotLiteral)?;
        Ok(Literal::Plain(repr_float(if negative { -real } else { real })))
    }

    fn word(&mut self) -> Result<Literal, NotLiteral> {
        let len = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(len);
        self.rest = rest;
        match word {
            "True" | "False" | "None" => Ok(Literal::Plain(word.to_owned())),
            _ => Err(NotLiteral),
        }
    }
}

/// How Python prints a literal.
pub(super) fn repr(literal: &Literal) -> String {
    match literal {
        Literal::Text(text) => repr_text(text),
        Literal::Plain(text) => text.clone(),
        Literal::Tuple(members) => repr_tuple(members),
    }
}

/// How Python prints a tuple.
pub(super) fn repr_tuple(members: &[Literal]) -> String {
    let members: Vec<String> = members.iter().map(repr).collect();
    match members.as_slice() {
        [only] => format!("({only},)"),
        _ => format!("({})", members.join(", ")),
    }
}

/// How Python prints a string in a list or with `!r`.
pub(super) fn repr_text(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// How Python prints a list of strings.
pub(super) fn repr_list(texts: &[&str]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| repr_text(text)).collect();
    format!("[{}]", texts.join(", "))
}

/// How Python prints a set of strings, in the order given; Python's own order changes from run to run.
pub(super) fn repr_set(texts: &[&str]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| repr_text(text)).collect();
    format!("{{{}}}", texts.join(", "))
}

/// How Python prints a float: the shortest digits that read back, with an exponent from 1e16 and below 1e-4.
pub(super) fn repr_float(real: f64) -> String {
    let size = real.abs();
    if real.is_infinite() {
        return if real > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    if size != 0.0 && !(1e-4..1e16).contains(&size) {
        let text = format!("{real:e}");
        let Some((digits, exponent)) = text.split_once('e') else { return text };
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    format!("{real:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Literal {
        Literal::Text(text.to_owned())
    }

    #[test]
    fn parentheses_alone_make_no_tuple() {
        assert_eq!(literal("('a')"), Ok(text("a")));
        assert_eq!(literal("('a',)"), Ok(Literal::Tuple(vec![text("a")])));
        assert_eq!(literal("()"), Ok(Literal::Tuple(vec![])));
        assert_eq!(literal("('a' \"b\", 'c')"), Ok(Literal::Tuple(vec![text("ab"), text("c")])));
    }

    #[test]
    fn what_python_does_not_read_as_a_value_is_refused() {
        assert_eq!(literal("('a' 1)"), Err(NotLiteral));
        assert_eq!(literal("(,)"), Err(NotLiteral));
        assert_eq!(literal("(a)"), Err(NotLiteral));
        assert_eq!(literal(&"(".repeat(1000)), Err(NotLiteral));
    }

    #[test]
    fn values_print_as_python_prints_them() {
        assert_eq!(repr_text("it's"), "\"it's\"");
        assert_eq!(repr_text("a\"'b\n"), "'a\"\\'b\\n'");
        assert_eq!(
            [1.0, 1e16, 1.5e-7, 0.0001].map(repr_float),
            ["1.0", "1e+16", "1.5e-07", "0.0001"].map(str::to_owned)
        );
        assert_eq!(literal("('a', 1, 2.50)").map(|l| repr(&l)), Ok("('a', 1, 2.5)".to_owned()));
    }
}
