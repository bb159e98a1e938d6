//! List headers by the grammar of RFC 9110: the reference that the component's own reading is held against.
//!
//! One character after the other, as the productions stand; what does not fit them is `None`.

/// The text that is still to be read.
#[derive(Clone, Copy)]
pub(super) struct Rest<'a>(pub(super) &'a str);

impl<'a> Rest<'a> {
    /// Takes the next character, if it is among those that `fits` lets through.
    pub(super) fn character(&mut self, fits: impl Fn(char) -> bool) -> Option<char> {
        let first = self.0.chars().next().filter(|c| fits(*c))?;
        self.0 = &self.0[first.len_utf8()..];
        Some(first)
    }

    /// Takes as many characters as `fits` lets through.
    pub(super) fn while_in(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let start = self.0;
        while self.character(&fits).is_some() {}
        &start[..start.len() - self.0.len()]
    }

    /// Section 5.6.3, `OWS`.
    pub(super) fn white_space(&mut self) {
        self.while_in(|c| matches!(c, ' ' | '\t'));
    }

    /// Section 5.6.2, `token`.
    pub(super) fn token(&mut self) -> Option<&'a str> {
        let token = self.while_in(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c));
        (!token.is_empty()).then_some(token)
    }

    /// Section 5.6.4, `quoted-string`; what it says does not matter here.
    pub(super) fn quoted_string(&mut self) -> Option<()> {
        let quotable = |c| matches!(c, '\t' | ' '..='~' | '\u{80}'..);
        self.character(|c| c == '"')?;
        loop {
            match self.character(quotable)? {
                '"' => return Some(()),
                '\\' => _ = self.character(quotable)?,
                _ => {}
            }
        }
    }

    /// `;` and a parameter, with white space around the `;`: its name, and its value if that is a token.
    ///
    /// Section 5.6.6 allows a `;` with nothing behind it; that is a parameter without a name.
    pub(super) fn parameter(&mut self) -> Option<(&'a str, Option<&'a str>)> {
        let mut ahead = *self;
        ahead.white_space();
        ahead.character(|c| c == ';')?;
        ahead.white_space();
        *self = ahead;
        let Some(name) = ahead.token() else {
            return Some(("", None));
        };
        ahead.character(|c| c == '=')?;
        let value = ahead.token();
        if value.is_none() {
            ahead.quoted_string()?;
        }
        *self = ahead;
        Some((name, value))
    }
}

/// Section 5.6.1: a list of what `element` reads, whose elements may be empty.
pub(super) fn list<'a, T>(
    header: &'a str,
    mut element: impl FnMut(&mut Rest<'a>) -> Option<T>,
) -> Option<Vec<T>> {
    let mut rest = Rest(header);
    let mut elements = Vec::new();
    loop {
        rest.white_space();
        if !rest.0.is_empty() && !rest.0.starts_with(',') {
            elements.push(element(&mut rest)?);
            rest.white_space();
        }
        if rest.0.is_empty() {
            return Some(elements);
        }
        rest.character(|c| c == ',')?;
    }
}

/// Section 12.4.2, `weight`, in thousandths.
///
/// 1000 where no parameter is called `q`. Not looked at: more than one, and one that is not the last.
/// `others` tells whether other parameters may come before it.
pub(super) fn weight(rest: &mut Rest<'_>, others: bool) -> Option<u16> {
    let mut weight = None;
    while let Some((name, value)) = rest.parameter() {
        if weight.is_some() {
            return None;
        }
        if name.eq_ignore_ascii_case("q") {
            weight = Some(qvalue(value.unwrap_or_default()));
        } else if !others {
            return None;
        }
    }
    Some(weight.unwrap_or(1000))
}

/// What a decimal number says, up to 1, and more than 0 if it is. Anything else counts as 1.
fn qvalue(text: &str) -> u16 {
    let mut rest = Rest(text);
    let whole = rest.while_in(|c| c.is_ascii_digit());
    let point = rest.character(|c| c == '.').is_some();
    let decimals = rest.while_in(|c| point && c.is_ascii_digit());
    let is_number = rest.0.is_empty() && !(whole.is_empty() && decimals.is_empty());
    if !is_number || whole.contains(|c| c != '0') {
        return 1000;
    }
    let digit = |place| decimals.chars().nth(place).and_then(|c| c.to_digit(10));
    let first: u32 = [(0, 100), (1, 10), (2, 1)]
        .map(|(place, value)| digit(place).unwrap_or(0) * value)
        .iter()
        .sum();
    let tiny = first == 0 && decimals.contains(|c| c != '0');
    first as u16 + u16::from(tiny)
}
