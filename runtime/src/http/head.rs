//! Heads that are refused before any route is asked. The HTTP library answers them with a bare status;
//! here they get the body that every refusal has.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::http::StatusCode;
use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::fault::Fault;

/// Header lines of one request.
pub(super) const HEADER_LINES: usize = 64;
/// More than the library's whole answer takes.
const BARE_BYTES: usize = 256;
/// What that answer has, and no answer of a route.
const NO_BODY: &str = "content-length: 0\r\n";

/// A stream that puts the library's own refusals into words.
pub(super) struct Worded<S> {
    stream: S,
    header_bytes: usize,
    /// What is left of ours, and how much of the library's bytes it stands for.
    ours: Option<(Bytes, usize)>,
}

impl<S> Worded<S> {
    pub(super) fn new(stream: S, header_bytes: usize) -> Self {
        Worded { stream, header_bytes, ours: None }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Worded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let mut others = bytes;
        if this.ours.is_none()
            && let Some(refusal) = bare_refusal(bytes)
        {
            others = &bytes[..refusal.at];
            if others.is_empty() {
                let worded = refusal.worded(this.header_bytes);
                this.ours = Some((worded.into(), bytes.len()));
            }
        }
        let Some((left, stands_for)) = &mut this.ours else {
            return Pin::new(&mut this.stream).poll_write(cx, others);
        };
        while !left.is_empty() {
            let written = ready!(Pin::new(&mut this.stream).poll_write(cx, left))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            left.advance(written);
        }
        let stands_for = *stands_for;
        this.ours = None;
        Poll::Ready(Ok(stands_for))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Worded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

/// An answer of the library alone: the last of its connection, and so at the end of what it writes.
struct Bare<'a> {
    at: usize,
    head: &'a str,
    status: StatusCode,
}

impl Bare<'_> {
    fn worded(&self, header_bytes: usize) -> String {
        let body = match self.status {
            StatusCode::BAD_REQUEST => {
                Fault::bad_request("the head makes no sense: its first line, a header or a length")
            }
            StatusCode::URI_TOO_LONG => {
                Fault::new(self.status, "too_large", "the address is too long")
            }
            _ => {
                let reason = format!(
                    "the head has more than {header_bytes} bytes (http.header_bytes) or {HEADER_LINES} header lines"
                );
                Fault::new(self.status, "too_large", reason)
            }
        };
        let body = body.to_json();
        let of_body = format!(
            "content-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n",
            body.len()
        );
        let head = self.head.replacen("connection: close\r\n", "", 1);
        head.replacen(NO_BODY, &of_body, 1) + &body
    }
}

fn bare_refusal(bytes: &[u8]) -> Option<Bare<'_>> {
    const START: &[u8] = b"HTTP/1.";
    if !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let tail_at = bytes.len().saturating_sub(BARE_BYTES);
    let at = tail_at + bytes[tail_at..].windows(START.len()).rposition(|part| part == START)?;
    let head = std::str::from_utf8(&bytes[at..]).ok()?;
    let status = StatusCode::from_bytes(head.as_bytes().get(9..12)?).ok()?;
    let refuses = [
        StatusCode::BAD_REQUEST,
        StatusCode::URI_TOO_LONG,
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    ];
    (refuses.contains(&status) && head.contains(NO_BODY)).then_some(Bare { at, head, status })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const BARE: &str = "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\
                        content-length: 0\r\ndate: Wed, 25 Nov 2026 20:00:00 GMT\r\n\r\n";

    /// What the other end reads of what is written, in pieces of `room` bytes.
    async fn written(room: usize, bytes: &[u8]) -> String {
        let (ours, mut theirs) = tokio::io::duplex(room);
        let mut worded = Worded::new(ours, 8_192);
        let write = async {
            worded.write_all(bytes).await.expect("the other end reads");
            worded.shutdown().await.expect("the other end reads");
        };
        let mut read = String::new();
        let (_, outcome) = tokio::join!(write, theirs.read_to_string(&mut read));
        outcome.expect("text");
        read
    }

    #[tokio::test]
    async fn a_bare_refusal_gets_its_reason_and_nothing_else_changes() {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nHTTP";
        for room in [1, 7, 4_096] {
            let read = written(room, format!("{answer}{BARE}").as_bytes()).await;
            let (head, body) = read
                .strip_prefix(answer)
                .expect("what came first")
                .split_once("\r\n\r\n")
                .expect("a body");
            assert!(head.starts_with("HTTP/1.1 431 "), "{head}");
            assert!(head.contains("\r\ndate: Wed, 25 Nov 2026 20:00:00 GMT"), "{head}");
            assert!(head.contains(&format!("\r\ncontent-length: {}", body.len())), "{head}");
            assert_eq!(head.matches("connection: close").count(), 1, "{head}");
            let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
            assert_eq!(body["error"], "too_large");
            for same in [
                answer,
                "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}",
                "HTTP/1.1 204 No Content\r\n\r\n",
                "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
                "\r\n\r\n",
            ] {
                assert_eq!(written(room, same.as_bytes()).await, same);
            }
        }
    }
}
