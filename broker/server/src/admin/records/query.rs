//! What somebody who looks at records asks for: where to begin, how many, how much of each. Strict: what is not understood is
//! refused and not passed over.

use axum::http::StatusCode;
use ouzel_protocol::Offset;
use ouzel_protocol::native::OffsetSpec;

use super::super::answer::Refusal;
use super::super::reading::ReadFrom;
use crate::limits::{
    ADMIN_RECORD_BYTES_DEFAULT, ADMIN_RECORD_BYTES_MAX, ADMIN_RECORD_COUNT_DEFAULT, ADMIN_RECORD_COUNT_MAX,
};

/// One question for records.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) from: ReadFrom,
    pub(super) limit: usize,
    /// What is shown of one record: key, headers and value together.
    pub(super) record_bytes: usize,
}

impl Query {
    /// Reads `from=earliest`, `from=latest`, `offset=N` or `timestamp=MS`, and `limit=N`, `record_bytes=N`.
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        let mut from = None;
        let (mut limit, mut record_bytes) = (ADMIN_RECORD_COUNT_DEFAULT, ADMIN_RECORD_BYTES_DEFAULT);
        let mut latest = false;
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let begin = match (key, value) {
                ("from", "earliest") => ReadFrom::At(OffsetSpec::Earliest),
                ("from", "latest") => {
                    latest = true;
                    ReadFrom::At(OffsetSpec::Latest)
                }
                ("offset", value) => ReadFrom::Offset(Offset(number(key, value, 0, Offset::MAX.0)?)),
                ("timestamp", value) => {
                    let ms = number(key, value, 0, i64::MAX as u64)?;
                    ReadFrom::At(OffsetSpec::Timestamp(i64::try_from(ms).unwrap_or(i64::MAX)))
                }
                ("limit", value) => {
                    limit = size(key, value, ADMIN_RECORD_COUNT_MAX)?;
                    continue;
                }
                ("record_bytes", value) => {
                    record_bytes = size(key, value, ADMIN_RECORD_BYTES_MAX)?;
                    continue;
                }
                _ => {
                    return Err(illegal(
                        format!("{key}={value} is not understood"),
                        "there are from=earliest, from=latest, offset, timestamp, limit and record_bytes",
                    ));
                }
            };
            if from.replace(begin).is_some() {
                return Err(illegal("there are two beginnings", "one of from, offset and timestamp is possible"));
            }
        }
        let from =
            if latest { ReadFrom::Last(limit as u64) } else { from.unwrap_or(ReadFrom::At(OffsetSpec::Earliest)) };
        Ok(Self { from, limit, record_bytes })
    }
}

fn illegal(what: impl Into<String>, why: impl Into<String>) -> Refusal {
    Refusal::of(StatusCode::BAD_REQUEST, what, why)
}

fn number(key: &str, text: &str, min: u64, max: u64) -> Result<u64, Refusal> {
    let number = text.parse().ok().filter(|number| (min..=max).contains(number));
    number
        .ok_or_else(|| illegal(format!("{key}={text} is not possible"), format!("it is a number from {min} to {max}")))
}

fn size(key: &str, text: &str, max: usize) -> Result<usize, Refusal> {
    Ok(usize::try_from(number(key, text, 1, max as u64)?).unwrap_or(max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in
            ["form=latest", "from=", "offset=-1", "limit=0", "limit=501", "offset=1&from=latest", "limit", "a&b"]
        {
            assert!(Query::parse(text).is_err(), "{text}");
        }
        for text in ["", "&", "from=latest&limit=500", "timestamp=1764000000000", "offset=9223372036854775807"] {
            assert!(Query::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn latest_is_the_last_so_many_in_any_order_of_the_words() {
        for text in ["from=latest&limit=7", "limit=7&from=latest"] {
            let query = Query::parse(text).expect("legal");
            assert!(matches!(query.from, ReadFrom::Last(7)), "{text}");
        }
    }
}
