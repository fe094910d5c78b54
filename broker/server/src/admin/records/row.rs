//! One record as JSON. Bytes are shown as text where they are UTF-8 without characters that nobody would see, else as hex; what
//! is shown of one record is bounded, and whoever reads it can tell from `bytes` how much there is.

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
    match std::str::from_utf8(bytes).ok().filter(|text| is_shown(text)) {
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

/// Whether a reader sees all of a text, in its order. JSON needs two characters at most for what may be in it, so that an answer's
/// size follows from what it shows.
fn is_shown(text: &str) -> bool {
    let mut before = '\0';
    text.chars().all(|character| {
        let joins = matches!(character, JOINER | NON_JOINER) && !before.is_ascii();
        before = character;
        joins || !(is_unseen(character) || character.is_control() && !matches!(character, '\t' | '\n' | '\r'))
    })
}

/// These two shape the letters of some scripts and make one picture of several, so that text in them would be hex without them.
/// Behind a character of ASCII they do nothing.
const NON_JOINER: char = '\u{200c}';
const JOINER: char = '\u{200d}';

/// Has no width, or changes the order in which others are seen: two texts that differ in one of these look alike, and what is shown
/// is not what programs read (<https://www.unicode.org/reports/tr36/#Bidirectional_Text_Spoofing>).
const fn is_unseen(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' // soft hyphen
            | '\u{61c}' // the direction mark of Arabic
            | '\u{180e}' // the vowel separator of Mongolian
            | '\u{200b}'..='\u{200f}' // spaces and joiners of no width, direction marks
            | '\u{202a}'..='\u{202e}' // embeddings and overrides of direction
            | '\u{2060}'..='\u{206f}' // the word joiner, operators that are not seen, isolates of direction
            | '\u{feff}' // the byte order mark
    )
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
    #[test]
    fn text_whose_order_or_parts_nobody_would_see_is_hex() {
        let hidden = [
            '\u{ad}', '\u{61c}', '\u{180e}', '\u{200b}', '\u{200c}', '\u{200d}', '\u{200e}', '\u{200f}', '\u{202a}',
            '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}', '\u{2060}', '\u{2064}', '\u{2066}', '\u{2067}', '\u{2068}',
            '\u{2069}', '\u{feff}',
        ];
        for character in hidden {
            for text in [format!("admin{character}"), format!("{character}admin"), format!("ad{character}min")] {
                let shown = field(Some(text.as_bytes()), &mut 100);
                assert_eq!(
                    shown,
                    json!({ "bytes": text.len(), "hex": hex(text.as_bytes()), "cut": false }),
                    "{text:?}"
                );
            }
        }
        for text in ["a\tb\r\n", "שלום", "مرحبا", "می\u{200c}روم", "👩\u{200d}🚀", "zoë ﬁ e\u{301}"]
        {
            assert_eq!(field(Some(text.as_bytes()), &mut 100)["text"], text);
        }
    }
}
