//! Reads transcripts: which line is what, words with quotes, and the arguments of a command.

use bytes::Bytes;
use signalhouse_core::wire::types::Text;

/// What one line of a transcript is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Line<'a> {
    /// A comment or an empty line; kept as it is.
    Remark,
    /// `config`, `manual`, `automatic` or `show`; kept as it is and obeyed.
    Directive(&'a str),
    /// `> …`: something to do.
    Command(&'a str),
    /// Anything else: what is expected of the command before it.
    Output,
}

impl<'a> Line<'a> {
    /// Tells what `line` is.
    pub(crate) fn of(line: &'a str) -> Self {
        if let Some(command) = line.strip_prefix('>') {
            return Line::Command(command.trim());
        }
        if line.trim().is_empty() || line.starts_with('#') {
            return Line::Remark;
        }
        match line.split(' ').next() {
            Some("config" | "manual" | "automatic" | "show") => Line::Directive(line),
            Some(_) | None => Line::Output,
        }
    }
}

/// The words of one command, sorted into those with a name, those in quotes, and the others.
///
/// Every word must be taken: [`Args::finish`] complains of what is left, so that a mistyped
/// argument cannot pass unnoticed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Args {
    plain: Vec<String>,
    quoted: Vec<Bytes>,
    named: Vec<(String, Bytes)>,
}

impl Args {
    /// Takes `line` apart.
    pub(crate) fn parse(line: &str) -> Result<Self, String> {
        let mut groups = Self::parse_groups(line)?;
        if groups.len() != 1 {
            return Err("a comma stands where no list is".into());
        }
        Ok(groups.remove(0))
    }

    /// Takes `line` apart into groups that stand between words of a single comma.
    pub(crate) fn parse_groups(line: &str) -> Result<Vec<Self>, String> {
        let mut groups = vec![Args::default()];
        let mut rest = line.trim_start();
        while !rest.is_empty() {
            let (word, after) = split_word(rest)?;
            rest = after.trim_start();
            if word == "," {
                groups.push(Args::default());
            } else if let Some(args) = groups.last_mut() {
                args.add(word)?;
            }
        }
        Ok(groups)
    }

    fn add(&mut self, word: &str) -> Result<(), String> {
        if word.starts_with('"') {
            self.quoted.push(unquote(word)?);
            return Ok(());
        }
        match word.split_once('=') {
            Some((name, value))
                if !name.is_empty()
                    && name
                        .bytes()
                        .all(|b| b == b'_' || b.is_ascii_lowercase() || b.is_ascii_digit()) =>
            {
                self.named.push((name.to_owned(), unquote(value)?));
            }
            Some(_) | None => self.plain.push(word.to_owned()),
        }
        Ok(())
    }

    /// The next word without name or quotes.
    pub(crate) fn word(&mut self, what: &str) -> Result<String, String> {
        if self.plain.is_empty() {
            return Err(format!("{what} is missing"));
        }
        Ok(self.plain.remove(0))
    }

    /// The next word without name or quotes, if there is one.
    pub(crate) fn optional_word(&mut self) -> Option<String> {
        (!self.plain.is_empty()).then(|| self.plain.remove(0))
    }

    /// The next word in quotes, empty if there is none.
    pub(crate) fn payload(&mut self) -> Bytes {
        if self.quoted.is_empty() { Bytes::new() } else { self.quoted.remove(0) }
    }

    /// Whether the word `name` is there.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let place = self.plain.iter().position(|word| word == name);
        place.map(|place| self.plain.remove(place)).is_some()
    }

    /// The bytes of `name=…`.
    pub(crate) fn bytes(&mut self, name: &str) -> Option<Bytes> {
        let place = self.named.iter().position(|(other, _)| other == name)?;
        Some(self.named.remove(place).1)
    }

    /// The text of `name=…`.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<Text>, String> {
        self.bytes(name)
            .map(|value| Text::new(value).map_err(|e| format!("{name}: {e}")))
            .transpose()
    }

    /// The number of `name=…`, decimal or with `0x`.
    pub(crate) fn number<N: TryFrom<u64>>(&mut self, name: &str) -> Result<Option<N>, String> {
        let Some(value) = self.bytes(name) else { return Ok(None) };
        number(&String::from_utf8_lossy(&value)).map(Some).map_err(|e| format!("{name}: {e}"))
    }

    /// Every `prop=name:value`, in order.
    pub(crate) fn user_properties(&mut self) -> Result<Vec<(Text, Text)>, String> {
        self.pairs("prop")
    }

    /// Whether `name=…` is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.named.iter().any(|(other, _)| other == name)
    }

    /// Every `name=first:second`, in order.
    pub(crate) fn pairs(&mut self, name: &str) -> Result<Vec<(Text, Text)>, String> {
        let mut found = Vec::new();
        while let Some(pair) = self.text(name)? {
            let (name, value) = pair.split_once(':').ok_or("a pair needs name:value")?;
            found.push((text(name)?, text(value)?));
        }
        Ok(found)
    }

    /// Every `name=value` that is left, in order.
    pub(crate) fn rest(&mut self) -> Vec<(String, String)> {
        let all = std::mem::take(&mut self.named);
        all.into_iter().map(|(n, v)| (n, String::from_utf8_lossy(&v).into_owned())).collect()
    }

    /// Complains of every word that nobody took.
    pub(crate) fn finish(&self) -> Result<(), String> {
        let names = self.named.iter().map(|(name, _)| name.clone());
        let left: Vec<String> = self.plain.iter().cloned().chain(names).collect();
        if left.is_empty() && self.quoted.is_empty() {
            return Ok(());
        }
        Err(format!("not understood: {}", left.join(" ")))
    }
}

/// A text from a string of the transcript.
pub(crate) fn text(value: &str) -> Result<Text, String> {
    Text::try_from(value).map_err(|error| error.to_string())
}

/// A number, decimal or with `0x`.
pub(crate) fn number<N: TryFrom<u64>>(value: &str) -> Result<N, String> {
    let parsed = match value.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None if value == "max" => Ok(u64::from(u32::MAX)),
        None => value.parse(),
    };
    let wide = parsed.map_err(|_| format!("`{value}` is no number"))?;
    N::try_from(wide).map_err(|_| format!("{value} is out of range"))
}

/// The first word of `rest`, quotes kept together, and what follows it.
fn split_word(rest: &str) -> Result<(&str, &str), String> {
    let mut in_quotes = false;
    let mut escaped = false;
    for (place, c) in rest.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_quotes => escaped = true,
            '"' => in_quotes = !in_quotes,
            ' ' if !in_quotes => return Ok(rest.split_at(place)),
            _ => {}
        }
    }
    if in_quotes { Err("a quote is not closed".into()) } else { Ok((rest, "")) }
}

/// `word` without its quotes; inside them `\"`, `\\` and `\xHH` stand for a byte.
fn unquote(word: &str) -> Result<Bytes, String> {
    let mut out = Vec::new();
    let mut in_quotes = false;
    let mut bytes = word.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_quotes = !in_quotes,
            b'\\' if in_quotes => match bytes.next() {
                Some(b'x') => {
                    let digits: Vec<u8> = bytes.by_ref().take(2).collect();
                    let digits = String::from_utf8_lossy(&digits).into_owned();
                    let value = u8::from_str_radix(&digits, 16);
                    out.push(value.map_err(|_| "\\x needs two hex digits")?);
                }
                Some(other) => out.push(other),
                None => return Err("a backslash ends the word".into()),
            },
            other => out.push(other),
        }
    }
    Ok(Bytes::from(out))
}
