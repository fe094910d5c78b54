//! Sizes and times as people write them: `16KiB`, `512MB`, `2026-01-01T00:00:00Z`. Owns the parsing of words from
//! flags, files and the environment; never reads a clock. Runs on the CLI's main thread.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Units of bytes, longest suffix first so that `KiB` is not taken for `B`.
const BYTE_UNITS: &[(&str, u64)] = &[
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("k", 1 << 10),
    ("m", 1 << 20),
    ("g", 1 << 30),
    ("b", 1),
];

/// Parses a number of bytes with an optional unit: `1024`, `16KiB`, `512MB`, `1GiB`.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let (digits, factor) = BYTE_UNITS
        .iter()
        .find_map(|(suffix, factor)| lower.strip_suffix(suffix).map(|digits| (digits, *factor)))
        .unwrap_or((lower.as_str(), 1));
    let number: u64 = digits
        .trim()
        .parse()
        .map_err(|_| format!("`{text}` is not a number of bytes; write it like 65536, 64KiB or 1GiB"))?;
    number.checked_mul(factor).ok_or_else(|| format!("`{text}` is more bytes than there can be"))
}

/// Parses a size that must fit in memory and be at least one byte.
pub(crate) fn parse_size(text: &str) -> Result<usize, String> {
    let bytes = parse_bytes(text)?;
    usize::try_from(bytes).ok().filter(|bytes| *bytes > 0).ok_or_else(|| format!("`{text}` must be at least 1 byte"))
}

/// Parses an RFC 3339 time into milliseconds since 1970.
pub(crate) fn parse_timestamp_ms(text: &str) -> Option<i64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
}

/// Bytes in the unit a person would pick.
pub(crate) fn human_bytes(bytes: u64) -> String {
    const UNITS: &[&str] = &["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// Bytes as they can be given again: in the largest unit that leaves no remainder.
pub(crate) fn exact_bytes(bytes: u64) -> String {
    const UNITS: &[(&str, u32)] = &[("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let fits = |(_, bits): &&(&str, u32)| bytes >> bits > 0 && bytes.trailing_zeros() >= *bits;
    UNITS.iter().find(fits).map_or_else(|| bytes.to_string(), |(unit, bits)| format!("{}{unit}", bytes >> bits))
}

/// A span of time in the two units a person would pick.
pub(crate) fn human_age(ms: u64) -> String {
    let (seconds, minutes, hours, days) = (ms / 1_000, ms / 60_000, ms / 3_600_000, ms / 86_400_000);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{minutes}m {:02}s", seconds % 60),
        3_600..86_400 => format!("{hours}h {:02}m", minutes % 60),
        _ => format!("{days}d {:02}h", hours % 24),
    }
}

/// Things in a second: whole ones, but for few of them.
pub(crate) fn human_rate(per_s: f64) -> String {
    if per_s == 0.0 || per_s >= 10.0 { format!("{per_s:.0}") } else { format!("{per_s:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_units() {
        for (text, bytes) in [
            ("0", 0),
            ("1024", 1024),
            ("16KiB", 16384),
            ("16k", 16384),
            ("1 MiB", 1 << 20),
            ("2MB", 2_000_000),
            ("7b", 7),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "KiB", "1.5KiB", "-1", "99999999999TiB", "12 parsecs"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn timestamps_are_rfc_3339() {
        assert_eq!(parse_timestamp_ms("1970-01-01T00:00:01Z"), Some(1000));
        assert_eq!(parse_timestamp_ms("1970-01-01T01:00:00.5+01:00"), Some(500));
        assert_eq!(parse_timestamp_ms("1970-01-01"), None);
    }

    #[test]
    fn bytes_are_shown_in_the_unit_a_person_would_pick() {
        assert_eq!(human_bytes(0), "0 B");
        assert_eq!(human_bytes(1023), "1023 B");
        assert_eq!(human_bytes(1536), "1.5 KiB");
        assert_eq!(human_bytes(1 << 30), "1.0 GiB");
    }

    #[test]
    fn exact_bytes_are_read_again_as_they_were() {
        for (bytes, text) in [(512 << 20, "512MiB"), (528 << 20, "528MiB"), (2 << 30, "2GiB"), (1025, "1025"), (0, "0")]
        {
            assert_eq!(exact_bytes(bytes), text);
            assert_eq!(parse_bytes(text), Ok(bytes));
        }
    }

    #[test]
    fn ages_and_rates_are_as_exact_as_a_person_wants_them() {
        let ages = [999, 59_999, 60_000, 3_723_000, 90_000_000].map(human_age);
        assert_eq!(ages, ["0s", "59s", "1m 00s", "1h 02m", "1d 01h"]);
        assert_eq!([0.0, 0.25, 9.94, 10.4, 12_345.6].map(human_rate), ["0", "0.2", "9.9", "10", "12346"]);
    }
}
