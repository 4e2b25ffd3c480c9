//! Tokens: what a publication's payload says about itself.
//!
//! `c3/e1/s42/t9f3a0c1d/f5/k0badf00d:abcde` is the 43rd payload that client 3 made, in its session
//! epoch 1, for the topic with that hash, filled with 5 bytes. The checksum covers all the rest.
//! Whoever receives it can tell which publication it is, and that it came whole and on its topic.

use std::fmt;

use crate::chance::hash32;
use crate::plan::ClientIndex;

/// A publication's identity, as its payload carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    /// The client that made it.
    pub client: ClientIndex,
    /// How often that client had begun a session anew when it made it.
    pub epoch: u32,
    /// How many payloads that client had made before. Never used twice, so client and sequence
    /// number are enough to know a publication.
    pub sequence: u64,
    /// Hash of the topic that it was made for.
    pub topic_hash: u32,
    /// Bytes that fill it up behind the colon.
    pub fill_bytes: u32,
}

impl Token {
    /// A token for a publication to `topic`.
    #[must_use]
    pub fn new(
        client: ClientIndex,
        epoch: u32,
        sequence: u64,
        topic: &str,
        fill_bytes: u32,
    ) -> Self {
        Self { client, epoch, sequence, topic_hash: topic_hash(topic), fill_bytes }
    }

    /// The payload that says this.
    #[must_use]
    pub fn make(&self) -> Vec<u8> {
        let Self { client, epoch, sequence, topic_hash, fill_bytes } = self;
        let head = format!("c{client}/e{epoch}/s{sequence}/t{topic_hash:08x}/f{fill_bytes}/k");
        let mut covered = head.clone().into_bytes();
        covered.extend(self.fill());
        let mut payload = format!("{head}{:08x}:", hash32(&covered)).into_bytes();
        payload.extend(self.fill());
        payload
    }

    /// Reads a payload. Only exactly what [`Token::make`] makes is taken.
    pub fn parse(payload: &[u8]) -> Result<Self, NotAToken> {
        let colon = payload.iter().position(|byte| *byte == b':').ok_or(NotAToken::Form)?;
        let head = str::from_utf8(&payload[..colon]).map_err(|_| NotAToken::Form)?;
        let token = Self::parse_head(head).ok_or(NotAToken::Form)?;
        // Compared before anything of that size is made: the number comes from outside.
        if payload.len() - colon - 1 != token.fill_bytes as usize {
            return Err(NotAToken::Length);
        }
        if token.make() != payload {
            return Err(NotAToken::Checksum);
        }
        Ok(token)
    }

    /// Whether it was made for a publication to `topic`.
    #[must_use]
    pub fn is_for(&self, topic: &str) -> bool {
        self.topic_hash == topic_hash(topic)
    }

    fn parse_head(head: &str) -> Option<Self> {
        let mut parts = head.split('/');
        let mut part = |mark: char| parts.next()?.strip_prefix(mark);
        let client = part('c')?.parse().ok()?;
        let epoch = part('e')?.parse().ok()?;
        let sequence = part('s')?.parse().ok()?;
        let topic_hash = u32::from_str_radix(part('t')?, 16).ok()?;
        let fill_bytes = part('f')?.parse().ok()?;
        part('k')?;
        parts.next().is_none().then_some(Self { client, epoch, sequence, topic_hash, fill_bytes })
    }

    /// Letters in turn, beginning at one that differs from token to token.
    fn fill(&self) -> impl Iterator<Item = u8> + use<> {
        let start = self.sequence % 26;
        (0..u64::from(self.fill_bytes)).map(move |at| b'a' + ((start + at) % 26) as u8)
    }
}

/// The part by which a person finds it in a trace.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, epoch, sequence, topic_hash: _, fill_bytes: _ } = self;
        write!(f, "c{client}/e{epoch}/s{sequence}")
    }
}

/// Why a payload is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAToken {
    /// It has another form.
    #[error("the payload does not have the form of a token")]
    Form,
    /// It is shorter or longer than it says.
    #[error("the payload is shorter or longer than its token says")]
    Length,
    /// It was changed.
    #[error("the payload does not have its token's checksum")]
    Checksum,
}

/// The hash by which a token knows its topic.
#[must_use]
pub fn topic_hash(topic: &str) -> u32 {
    hash32(topic.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_knows_its_topic() {
        for fill_bytes in [0, 1, 5, 300] {
            let token = Token::new(3, 1, 42, "a/b", fill_bytes);
            assert_eq!(Token::parse(&token.make()), Ok(token));
            assert!(token.is_for("a/b"));
            assert!(!token.is_for("a/c"));
        }
        let token = Token::new(3, 1, 42, "a/b", 5);
        assert!(token.make().starts_with(b"c3/e1/s42/t"));
        assert!(token.make().ends_with(b":qrstu"));
        assert_eq!(token.to_string(), "c3/e1/s42");
    }

    #[test]
    fn every_change_of_a_byte_is_noticed() {
        let payload = Token::new(3, 1, 42, "a/b", 5).make();
        for at in 0..payload.len() {
            let mut changed = payload.clone();
            changed[at] ^= 1;
            assert!(Token::parse(&changed).is_err(), "{}", String::from_utf8_lossy(&changed));
            assert!(Token::parse(&payload[..at]).is_err());
        }
        let mut longer = payload;
        longer.push(b'v');
        assert_eq!(Token::parse(&longer), Err(NotAToken::Length));
        assert_eq!(Token::parse(b""), Err(NotAToken::Form));
        let huge = b"c0/e0/s0/t00000000/f4294967295/k00000000:";
        assert_eq!(Token::parse(huge), Err(NotAToken::Length));
    }
}
