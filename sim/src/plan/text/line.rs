//! One line of a plan's text: words, flags and fields.

use std::fmt::{Display, Write as _};
use std::str::FromStr;

/// Writes one line.
pub(super) struct Writer {
    line: String,
}

impl Writer {
    /// A line that begins with `verb`.
    pub(super) fn new(verb: &str) -> Self {
        Writer { line: verb.to_owned() }
    }

    /// A word that needs no quotes.
    pub(super) fn word(&mut self, word: &impl Display) -> &mut Self {
        let _ = write!(self.line, " {word}");
        self
    }

    /// A text, in quotes if it needs them.
    pub(super) fn text(&mut self, text: &str) {
        self.line.push(' ');
        self.push_text(text);
    }

    /// A field, unless it is at its default.
    pub(super) fn field<T: Display + PartialEq>(&mut self, name: &str, value: T, default: T) {
        if value != default {
            self.value(name, value);
        }
    }

    /// A field.
    pub(super) fn value(&mut self, name: &str, value: impl Display) {
        let _ = write!(self.line, " {name}={value}");
    }

    /// A field that is a text.
    pub(super) fn quoted(&mut self, name: &str, text: &str) {
        let _ = write!(self.line, " {name}=");
        self.push_text(text);
    }

    /// A flag, if it is set.
    pub(super) fn flag(&mut self, name: &str, is_set: bool) {
        if is_set {
            self.word(&name);
        }
    }

    /// Appends the line to `text`.
    pub(super) fn end(self, text: &mut String) {
        text.push_str(&self.line);
        text.push('\n');
    }

    fn push_text(&mut self, text: &str) {
        if !text.is_empty() && text.chars().all(is_plain) {
            self.line.push_str(text);
            return;
        }
        self.line.push('"');
        for character in text.chars() {
            match character {
                '"' | '\\' => self.line.extend(['\\', character]),
                character if character.is_control() => {
                    let _ = write!(self.line, "\\u{{{:x}}}", u32::from(character));
                }
                character => self.line.push(character),
            }
        }
        self.line.push('"');
    }
}

/// Whether a character may stand in a text without quotes.
fn is_plain(character: char) -> bool {
    character.is_alphanumeric() || "/$_-.:+".contains(character)
}

/// One item of a line.
struct Item {
    /// Before `=`, for a field.
    name: Option<String>,
    text: String,
    quoted: bool,
}

/// Reads one line. What is asked for is taken out; what is left at the end was not understood.
pub(super) struct Line {
    verb: String,
    items: Vec<Item>,
}

impl Line {
    /// The line's items; `None` if it is empty but for a comment.
    pub(super) fn new(text: &str) -> Result<Option<Self>, String> {
        let mut rest = text.chars().peekable();
        let mut items = Vec::new();
        loop {
            while rest.next_if(|character| character.is_whitespace()).is_some() {}
            match rest.peek() {
                None | Some('#') => break,
                Some(_) => items.push(item(&mut rest)?),
            }
        }
        if items.is_empty() {
            return Ok(None);
        }
        let verb = items.remove(0);
        if verb.name.is_some() || verb.quoted {
            return Err("a line begins with a word".to_owned());
        }
        Ok(Some(Line { verb: verb.text, items }))
    }

    /// The first word.
    pub(super) fn verb(&self) -> &str {
        &self.verb
    }

    /// Takes the next word or text; `what` says what it is, for the error.
    pub(super) fn text(&mut self, what: &str) -> Result<String, String> {
        match self.items.first() {
            Some(item) if item.name.is_none() => Ok(self.items.remove(0).text),
            Some(_) | None => Err(format!("{what} is missing")),
        }
    }

    /// Takes the next word, a number, decimal or with `0x`.
    pub(super) fn number<T: TryFrom<u64>>(&mut self, what: &str) -> Result<T, String> {
        let text = self.text(what)?;
        parse_number(&text).ok_or_else(|| format!("`{text}` is no number in range for {what}"))
    }

    /// Takes a field, if it is there.
    pub(super) fn optional<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, String> {
        let Some(place) = self.items.iter().position(|item| item.name.as_deref() == Some(name))
        else {
            return Ok(None);
        };
        let text = self.items.remove(place).text;
        let hexadecimal = || parse_number::<u64>(&text)?.to_string().parse().ok();
        let value = text.parse().ok().or_else(hexadecimal);
        value.map(Some).ok_or_else(|| format!("`{text}` is no value for {name}"))
    }

    /// Takes a field, or its default.
    pub(super) fn or<T: FromStr>(&mut self, name: &str, default: T) -> Result<T, String> {
        Ok(self.optional(name)?.unwrap_or(default))
    }

    /// Takes a flag and says whether it was there.
    pub(super) fn is_set(&mut self, name: &str) -> bool {
        let found = self
            .items
            .iter()
            .position(|item| item.name.is_none() && !item.quoted && item.text == name);
        if let Some(place) = found {
            self.items.remove(place);
        }
        found.is_some()
    }

    /// Nothing may be left.
    pub(super) fn end(&self) -> Result<(), String> {
        match self.items.first() {
            None => Ok(()),
            Some(Item { name: Some(name), .. }) => {
                Err(format!("the field `{name}` is not known here, or stands twice"))
            }
            Some(item) => Err(format!("`{}` is not known here, or stands twice", item.text)),
        }
    }
}

fn parse_number<T: TryFrom<u64>>(text: &str) -> Option<T> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    T::try_from(number.ok()?).ok()
}

type Characters<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn item(rest: &mut Characters<'_>) -> Result<Item, String> {
    let mut item = Item { name: None, text: String::new(), quoted: false };
    while let Some(&character) = rest.peek() {
        match character {
            '"' if item.text.is_empty() && !item.quoted => {
                rest.next();
                item.text = quoted(rest)?;
                item.quoted = true;
            }
            '=' if item.name.is_none() && !item.quoted => {
                rest.next();
                item.name = Some(std::mem::take(&mut item.text));
            }
            character if character.is_whitespace() => break,
            _ if item.quoted => return Err("something follows a closing quote".to_owned()),
            character => {
                rest.next();
                item.text.push(character);
            }
        }
    }
    Ok(item)
}

/// The inside of a quoted text, up to and with its closing quote.
fn quoted(rest: &mut Characters<'_>) -> Result<String, String> {
    let mut text = String::new();
    loop {
        match rest.next().ok_or("a quote is not closed")? {
            '"' => return Ok(text),
            '\\' => match rest.next() {
                Some(character @ ('"' | '\\')) => text.push(character),
                Some('u') => text.push(escaped(rest).ok_or("`\\u` wants `{hex}`")?),
                Some(_) | None => return Err("`\\` stands before `\"`, `\\` or `u{…}`".to_owned()),
            },
            character => text.push(character),
        }
    }
}

fn escaped(rest: &mut Characters<'_>) -> Option<char> {
    rest.next_if_eq(&'{')?;
    let mut digits = String::new();
    while let Some(digit) = rest.next_if(char::is_ascii_hexdigit) {
        digits.push(digit);
    }
    rest.next_if_eq(&'}')?;
    char::from_u32(u32::from_str_radix(&digits, 16).ok()?)
}
