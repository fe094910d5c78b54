//! ApiVersions (key 18): what a broker speaks. Owns its layout, the answer to a version that is not known, and the rule on
//! the names of client software. Any core.
//!
//! What changed: 1 throttling; 2 after authentication; 3 flexible, the client's software, features (KIP-511, KIP-584); 4 features
//! whose lowest version is 0. The header of the reply is never flexible.

use super::api::ApiKey;
use super::array::Array;
use super::error::KafkaError;
use super::table::structures;

structures! {
    /// Who asks.
    ApiVersionsRequest<'a> {
        /// The client library's name.
        client_software_name: &'a str => 3.., ignorable true;
        /// Its version.
        client_software_version: &'a str => 3.., ignorable true;
    }

    /// What the broker speaks.
    ApiVersionsReply<'a> {
        /// UNSUPPORTED_VERSION when the request's own version is not spoken.
        error_code: KafkaError => 0..;
        /// One row an API.
        api_keys: Array<'a, ApiVersion> => 0..;
        /// How long the client is to wait because of a quota, in ms.
        throttle_time_ms: i32 => 1.., ignorable true;
        /// Features that the broker could have.
        supported_features: Array<'a, SupportedFeature<'a>> => 3.., tag 0, ignorable true;
        /// Counts the changes of the features; -1 for none.
        finalized_features_epoch: i64 => 3.., default -1, tag 1, ignorable true;
        /// Features that the cluster has.
        finalized_features: Array<'a, FinalizedFeature<'a>> => 3.., tag 2, ignorable true;
        /// Whether Kafka's controller could leave ZooKeeper.
        zk_migration_ready: bool => 3.., tag 3, ignorable true;
    }

    /// The versions of one API.
    ApiVersion {
        /// The API's key.
        api_key: i16 => 0..;
        /// The lowest version.
        min_version: i16 => 0..;
        /// The highest.
        max_version: i16 => 0..;
    }

    /// A feature that the broker could have.
    SupportedFeature<'a> {
        /// Its name.
        name: &'a str => 3..;
        /// The lowest version.
        min_version: i16 => 3..;
        /// The highest.
        max_version: i16 => 3..;
    }

    /// A feature that the cluster has.
    FinalizedFeature<'a> {
        /// Its name.
        name: &'a str => 3..;
        /// The highest version in use.
        max_version_level: i16 => 3..;
        /// The lowest.
        min_version_level: i16 => 3..;
    }
}

impl ApiVersion {
    /// The row of an API, `None` for one that is not offered.
    #[must_use]
    pub fn of(api: ApiKey) -> Option<ApiVersion> {
        let offered = api.api().offered.as_ref()?;
        Some(ApiVersion { api_key: api.to_wire(), min_version: *offered.start(), max_version: *offered.end() })
    }
}

impl ApiVersionsReply<'_> {
    /// Every API that is offered, and no feature.
    #[must_use]
    pub fn offered() -> ApiVersionsReply<'static> {
        let rows = ApiKey::ALL.iter().copied().filter_map(ApiVersion::of);
        ApiVersionsReply { api_keys: rows.collect(), ..ApiVersionsReply::default() }
    }

    /// The answer to an ApiVersions request of a version that is not known, to be encoded in version 0: UNSUPPORTED_VERSION,
    /// and the versions of ApiVersions itself, so that the client can ask again (KIP-511).
    #[must_use]
    pub fn unsupported_version() -> ApiVersionsReply<'static> {
        ApiVersionsReply {
            error_code: KafkaError::UNSUPPORTED_VERSION,
            api_keys: ApiVersion::of(ApiKey::ApiVersions).into_iter().collect(),
            ..ApiVersionsReply::default()
        }
    }
}

/// Whether client software may call itself so, or its version: letters and digits, with `-` and `.` between them (KIP-511).
/// Any other is answered with INVALID_REQUEST.
#[must_use]
pub fn is_software_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let edges = [bytes.first(), bytes.last()];
    edges.iter().all(|byte| byte.is_some_and(u8::is_ascii_alphanumeric))
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::{Message, append_reply};

    #[test]
    fn an_unknown_version_is_answered_in_version_0_with_the_range_to_use() {
        let mut out = Vec::new();
        append_reply(&mut out, 0, 7, &ApiVersionsReply::unsupported_version()).unwrap();
        assert_eq!(out, [0, 0, 0, 16, 0, 0, 0, 7, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4]);
    }

    #[test]
    fn what_is_offered_is_listed_by_key_with_its_range() {
        let reply = ApiVersionsReply::offered();
        let rows: Vec<_> = reply.api_keys.iter().collect();
        assert!(rows.is_sorted_by_key(|row| row.api_key));
        let row =
            |key: ApiKey| rows.iter().find(|row| row.api_key == key.to_wire()).map(|r| (r.min_version, r.max_version));
        assert_eq!(row(ApiKey::Produce), Some((0, 11)));
        assert_eq!(row(ApiKey::Fetch), Some((4, 12)));
        let mut out = Vec::new();
        reply.encode(3, &mut out).unwrap();
        assert_eq!(ApiVersionsReply::decode(&out, 3), Ok(reply));
    }

    #[test]
    fn names_of_software_are_letters_and_digits_with_dots_and_dashes_inside() {
        for name in ["a", "librdkafka", "apache-kafka-java", "2.15.0", "a..b--c"] {
            assert!(is_software_name(name), "{name}");
        }
        for name in ["", "-a", "a.", "a b", "é", "a_b"] {
            assert!(!is_software_name(name), "{name}");
        }
    }
}
