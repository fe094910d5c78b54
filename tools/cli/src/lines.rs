//! Lines of stdin as they arrive. Owns the reading thread's buffer and the splitting; never looks into a line but for
//! the key separator. The reader runs on a thread of its own, because reading a pipe blocks.

use std::io::{ErrorKind, Read};

use anyhow::{Context, Result, bail};
use tokio::sync::mpsc;

/// Bytes asked of stdin at once.
const READ_BYTES: usize = 256 * 1024;
/// Chunks that wait to be sent before the reader waits: this and the producer's own limit are the back-pressure.
const CHUNKS_MAX: usize = 4;
/// Longest line: a batch cannot be longer.
const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The lines that one read brought, without their newlines.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Chunk {
    bytes: Vec<u8>,
    /// End of each line in `bytes`.
    ends: Vec<usize>,
}

impl Chunk {
    /// The lines in order.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }

    fn push(&mut self, line: &[u8]) {
        self.bytes.extend_from_slice(line);
        self.ends.push(self.bytes.len());
    }
}

/// Reads lines on a thread of its own. The channel ends after the last line; an error of reading is its last element.
pub(crate) fn read_lines(source: impl Read + Send + 'static) -> mpsc::Receiver<Result<Chunk>> {
    let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
    let thread = std::thread::Builder::new().name("stdin".to_string());
    let spawned = thread.spawn({
        let sender = sender.clone();
        move || {
            if let Err(error) = split(source, LINE_BYTES_MAX, |chunk| sender.blocking_send(Ok(chunk)).is_ok()) {
                // Nobody listens any more if this fails: the command has ended.
                let _ = sender.blocking_send(Err(error));
            }
        }
    });
    if let Err(error) = spawned {
        // The channel is new and has room.
        let _ = sender.try_send(Err(anyhow::Error::new(error).context("cannot start a thread to read stdin")));
    }
    receiver
}

/// Splits a source into lines and hands on what each read completed; ends early when `take` returns false. A last line
/// without a newline counts.
fn split(mut source: impl Read, line_bytes_max: usize, mut take: impl FnMut(Chunk) -> bool) -> Result<()> {
    let mut buf = vec![0; READ_BYTES];
    let mut partial: Vec<u8> = Vec::new();
    loop {
        let bytes = match source.read(&mut buf) {
            Ok(0) => break,
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).context("cannot read stdin"),
        };
        let mut chunk = Chunk::default();
        let mut pieces = buf[..bytes].split(|byte| *byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            if partial.len() + piece.len() > line_bytes_max {
                bail!("a line of stdin is longer than {line_bytes_max} bytes, the most a batch can hold");
            }
            if pieces.peek().is_none() {
                partial.extend_from_slice(piece);
            } else if partial.is_empty() {
                chunk.push(piece);
            } else {
                partial.extend_from_slice(piece);
                chunk.push(&partial);
                partial.clear();
            }
        }
        if !chunk.ends.is_empty() && !take(chunk) {
            return Ok(());
        }
    }
    if !partial.is_empty() {
        let mut chunk = Chunk::default();
        chunk.push(&partial);
        take(chunk);
    }
    Ok(())
}

/// Key and value of a line; `None` if the separator is not in it.
pub(crate) fn split_key<'a>(line: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = line.windows(separator.len()).position(|window| window == separator)?;
    Some((&line[..at], &line[at + separator.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A source that gives its bytes in pieces of a fixed size.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            let bytes = self.1.min(self.0.len()).min(buf.len());
            buf[..bytes].copy_from_slice(&self.0[..bytes]);
            self.0 = &self.0[bytes..];
            Ok(bytes)
        }
    }

    fn lines_of(text: &[u8], piece_bytes: usize) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        split(Pieces(text, piece_bytes), 100, |chunk| {
            lines.extend(chunk.lines().map(<[u8]>::to_vec));
            true
        })
        .expect("split");
        lines
    }

    #[test]
    fn lines_are_the_same_however_the_bytes_arrive() {
        for (text, expected) in [
            (&b""[..], vec![]),
            (b"\n", vec![&b""[..]]),
            (b"a\nbc\n", vec![b"a", b"bc"]),
            (b"a\n\n\nlast", vec![b"a", b"", b"", b"last"]),
            (b"\xff\x00\r\nx", vec![b"\xff\x00\r", b"x"]),
        ] {
            for piece_bytes in 1..=text.len().max(1) {
                assert_eq!(lines_of(text, piece_bytes), expected, "{piece_bytes}");
            }
        }
    }

    #[test]
    fn a_line_without_end_is_refused_before_memory_is() {
        let text = vec![b'x'; 1000];
        let error = split(Pieces(&text, 64), 100, |_| true).expect_err("too long");
        assert!(error.to_string().contains("100 bytes"), "{error}");
    }

    #[test]
    fn a_key_ends_at_the_first_separator() {
        assert_eq!(split_key(b"k:v:w", b":"), Some((&b"k"[..], &b"v:w"[..])));
        assert_eq!(split_key(b"k=>v", b"=>"), Some((&b"k"[..], &b"v"[..])));
        assert_eq!(split_key(b":v", b":"), Some((&b""[..], &b"v"[..])));
        assert_eq!(split_key(b"kv", b":"), None);
    }
}
