//! One record as JSON. Bytes are shown as text where they are UTF-8 without control characters that nobody would see, else as hex;
//! what is shown of one record is bounded, and whoever reads it can tell from `bytes` how much there is.

use ouzel_protocol::{BatchError, BatchHeader, Record};
use serde_json::{Value, json};

use crate::limits::ADMIN_RECORD_HEADER_COUNT_MAX;

/// Key, headers and value share `bytes_max`, in this order.
pub(super) fn of(record: &Record<'_>, bytes_max: usize) -> Value {
    let mut left = bytes_max;
    let key = field(record.key, &mut left);
    let header_count = record.headers.len();
    let headers: Vec<Value> = record
        .headers
        .clone()
        .take(ADMIN_RECORD_HEADER_COUNT_MAX)
        .map(|header| json!({ "key": field(Some(header.key), &mut left), "value": field(header.value, &mut left) }))
        .collect();
    json!({
        "offset": record.offset.0,
        "timestamp": record.timestamp,
        "key": key,
        "headers_left_out": header_count - headers.len(),
        "headers": headers,
        "value": field(record.value, &mut left),
    })
}

/// A batch that cannot be opened stands for all of its records.
pub(super) fn unreadable(header: &BatchHeader, why: &BatchError) -> Value {
    json!({
        "offset": header.base_offset.0,
        "last_offset": header.last_offset().0,
        "unreadable": why.to_string(),
    })
}

fn field(bytes: Option<&[u8]>, left: &mut usize) -> Value {
    let Some(bytes) = bytes else { return Value::Null };
    match std::str::from_utf8(bytes).ok().filter(|text| text.chars().all(is_shown)) {
        Some(text) => {
            let end = text.floor_char_boundary(*left);
            *left -= end;
            json!({ "bytes": bytes.len(), "text": text.get(..end).unwrap_or_default(), "cut": end < bytes.len() })
        }
        None => {
            let part = bytes.get(..*left).unwrap_or(bytes);
            *left -= part.len();
            json!({ "bytes": bytes.len(), "hex": hex(part), "cut": part.len() < bytes.len() })
        }
    }
}

/// JSON needs two characters at most for one of these, so that an answer's size follows from what it shows.
fn is_shown(character: char) -> bool {
    !character.is_control() || matches!(character, '\t' | '\n' | '\r')
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters_and_bytes_are_hex() {
        let mut left = 3;
        let euro = field(Some("€€".as_bytes()), &mut left);
        assert_eq!(euro, json!({ "bytes": 6, "text": "€", "cut": true }));
        assert_eq!(left, 0);
        left = 4;
        assert_eq!(field(Some("a€€".as_bytes()), &mut left), json!({ "bytes": 7, "text": "a€", "cut": true }));
        left = 2;
        assert_eq!(field(Some(&[0, 0xff, 1]), &mut left), json!({ "bytes": 3, "hex": "00ff", "cut": true }));
        left = 9;
        assert_eq!(field(Some(b""), &mut left), json!({ "bytes": 0, "text": "", "cut": false }));
        assert_eq!(field(None, &mut left), Value::Null);
        assert_eq!(field(Some(b"\x1b[31m"), &mut left)["hex"], "1b5b33316d");
    }
}
