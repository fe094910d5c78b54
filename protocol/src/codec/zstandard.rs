//! Zstandard frames.
//!
//! Owns one compression and one decompression context per thread: setting one up costs more than a small
//! batch does. Decompresses in one step into the output, so a frame's claimed window is never allocated.

use std::cell::RefCell;
use std::io::Cursor;
use std::mem;

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe;

use super::{Codec, CodecError};

const LEVEL_DEFAULT: i32 = 3;

thread_local! {
    static COMPRESSOR: RefCell<Option<(i32, Compressor<'static>)>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

pub(super) fn compress(bytes: &[u8], level: Option<i32>, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let level = level.unwrap_or(LEVEL_DEFAULT);
    if !(zstd_safe::min_c_level()..=zstd_safe::max_c_level()).contains(&level) {
        return Err(Codec::Zstd.refused(format_args!("no level {level}")));
    }
    let refused = |error| Codec::Zstd.refused(error);
    COMPRESSOR.with_borrow_mut(|slot| {
        let compressor = match slot {
            Some((of_level, compressor)) if *of_level == level => compressor,
            _ => {
                let compressor = Compressor::new(level).map_err(refused)?;
                &mut slot.insert((level, compressor)).1
            }
        };
        out.reserve(zstd_safe::compress_bound(bytes.len()));
        let end = out.len() as u64;
        let mut target = Cursor::new(mem::take(out));
        target.set_position(end);
        let done = compressor.compress_to_buffer(bytes, &mut target);
        *out = target.into_inner();
        done.map(|_| ()).map_err(refused)
    })
}

pub(super) fn decompress(bytes: &[u8], bytes_max: usize) -> Result<Vec<u8>, CodecError> {
    // What the first frame claims, if it does: the Java client streams and so claims nothing. A claim
    // above the cap is refused before anything is allocated.
    let claimed = zstd_safe::get_frame_content_size(bytes)
        .map_err(|_| Codec::Zstd.malformed("the frame header is cut or not one"))?;
    let mut capacity = match claimed.map(usize::try_from) {
        Some(Ok(claimed)) if claimed <= bytes_max => claimed.max(1),
        Some(_) => return Err(Codec::Zstd.too_large(bytes_max)),
        None => bytes.len().saturating_mul(8).clamp(1, bytes_max.max(1)),
    };
    DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot {
            Some(decompressor) => decompressor,
            None => slot.insert(Decompressor::new().map_err(|error| Codec::Zstd.malformed(error))?),
        };
        loop {
            let mut out = Vec::with_capacity(capacity);
            let room = out.capacity();
            match decompressor.decompress_to_buffer(bytes, &mut out) {
                Ok(_) if out.len() <= bytes_max => return Ok(out),
                Ok(_) => return Err(Codec::Zstd.too_large(bytes_max)),
                Err(error) if !is_out_of_room(&error) => {
                    return Err(Codec::Zstd.malformed(error));
                }
                Err(_) if room >= bytes_max => return Err(Codec::Zstd.too_large(bytes_max)),
                Err(_) => capacity = room.saturating_mul(4).min(bytes_max),
            }
        }
    })
}

/// Whether the output was too small. The `zstd` crate turns the library's number into its text.
fn is_out_of_room(error: &std::io::Error) -> bool {
    error.to_string().contains("Destination buffer is too small")
}
