//! Cuts the bytes of a connection into frames. Owns the cutting; never reads a socket, never looks into a body. Pure.

use bytes::{Bytes, BytesMut};
use ouzel_protocol::native::{FRAME_HEADER_BYTES, FrameError, FrameHeader};

/// Room asked for when nothing is known about the next frame.
const READ_BYTES: usize = 64 * 1024;

/// The next whole frame of `buf`, its body as a slice that was not copied, or `None` when more bytes are needed; `buf` then
/// has room for the rest of the frame.
///
/// # Errors
/// The bytes are no frame; the stream cannot be followed any more.
pub(crate) fn next_frame(buf: &mut BytesMut) -> Result<Option<(FrameHeader, Bytes)>, FrameError> {
    let header = match FrameHeader::parse(buf) {
        Ok(header) => header,
        Err(FrameError::Truncated { .. }) => {
            buf.reserve(READ_BYTES);
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let missing = header.frame_bytes().saturating_sub(buf.len());
    if missing > 0 {
        buf.reserve(missing);
        return Ok(None);
    }
    let mut frame = buf.split_to(header.frame_bytes()).freeze();
    Ok(Some((header, frame.split_off(FRAME_HEADER_BYTES))))
}

#[cfg(test)]
mod tests {
    use ouzel_protocol::CorrelationId;
    use ouzel_protocol::native::{Api, reply_frame};

    use super::*;

    #[test]
    fn frames_are_found_however_the_bytes_arrive() {
        let mut stream = Vec::new();
        for number in 0..5_u8 {
            let body = vec![number; usize::from(number) * 1000];
            let correlation = CorrelationId(number.into());
            stream.extend(reply_frame(Api::Fetch, correlation, |out| out.extend(&body)));
        }
        for step in [1, 7, 24, 25, 1000, stream.len()] {
            let mut buf = BytesMut::new();
            let mut found = Vec::new();
            for piece in stream.chunks(step) {
                buf.extend_from_slice(piece);
                while let Some((header, body)) = next_frame(&mut buf).unwrap() {
                    found.push((header.correlation.0, body.len()));
                }
            }
            assert_eq!(found, [(0, 0), (1, 1000), (2, 2000), (3, 3000), (4, 4000)], "{step}");
            assert!(buf.is_empty());
        }
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        let mut buf = BytesMut::from(&b"HTTP/1.1 400 Bad Request\r\n"[..]);
        assert!(next_frame(&mut buf).is_err());
    }
}
