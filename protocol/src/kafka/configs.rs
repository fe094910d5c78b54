//! DescribeConfigs (32), AlterConfigs (33) and IncrementalAlterConfigs (44). Owns their layouts and the numbers in them. Any core.
//!
//! What changed. DescribeConfigs since 1: 3 types and documentation; 4 flexible. AlterConfigs: 2 flexible. IncrementalAlterConfigs: 1
//! flexible.

use super::array::Array;
use super::error::KafkaError;
use super::table::structures;

/// What a configuration belongs to (`org.apache.kafka.common.config.ConfigResource`).
pub mod resource_type {
    /// A topic, by name.
    pub const TOPIC: i8 = 2;
    /// A broker, by its node id in decimal; the empty name for all.
    pub const BROKER: i8 = 4;
    /// The levels of a broker's loggers.
    pub const BROKER_LOGGER: i8 = 8;
    /// Subscriptions of telemetry.
    pub const CLIENT_METRICS: i8 = 16;
    /// A group, by id.
    pub const GROUP: i8 = 32;
}

/// Where a value comes from (`DescribeConfigsResponse.ConfigSource`).
pub mod config_source {
    /// Nobody knows.
    pub const UNKNOWN: i8 = 0;
    /// Set for this topic.
    pub const TOPIC: i8 = 1;
    /// Set for this broker while it runs.
    pub const BROKER: i8 = 2;
    /// Set for all brokers while they run.
    pub const BROKER_DEFAULT: i8 = 3;
    /// From the broker's file or command line.
    pub const STATIC_BROKER: i8 = 4;
    /// Nobody set it.
    pub const DEFAULT: i8 = 5;
    /// Set for this broker's loggers.
    pub const BROKER_LOGGER: i8 = 6;
}

/// What kind of value a configuration takes (`DescribeConfigsResponse.ConfigType`).
pub mod config_type {
    /// Nobody knows.
    pub const UNKNOWN: i8 = 0;
    /// `true` or `false`.
    pub const BOOLEAN: i8 = 1;
    /// Any text.
    pub const STRING: i8 = 2;
    /// An integer of 32 bits.
    pub const INT: i8 = 3;
    /// One of 16.
    pub const SHORT: i8 = 4;
    /// One of 64.
    pub const LONG: i8 = 5;
    /// A number with a fraction.
    pub const DOUBLE: i8 = 6;
    /// Texts with commas between.
    pub const LIST: i8 = 7;
    /// The name of a Java class.
    pub const CLASS: i8 = 8;
    /// A secret.
    pub const PASSWORD: i8 = 9;
}

/// What to do with one configuration (`AlterConfigOp.OpType`).
pub mod config_operation {
    /// Give it the value.
    pub const SET: i8 = 0;
    /// Back to what holds when nobody sets it.
    pub const DELETE: i8 = 1;
    /// Add to a list.
    pub const APPEND: i8 = 2;
    /// Take out of a list.
    pub const SUBTRACT: i8 = 3;
}

structures! {
    /// Whose configuration is of interest.
    DescribeConfigsRequest<'a> {
        /// One row a resource.
        resources: Array<'a, DescribeConfigsResource<'a>> => 0..;
        /// Whether to tell what would hold if a value were not set.
        include_synonyms: bool => 1..;
        /// Whether to tell what it is for.
        include_documentation: bool => 3..;
    }

    /// What is of interest of one resource.
    DescribeConfigsResource<'a> {
        /// Its kind, see [`resource_type`].
        resource_type: i8 => 0..;
        /// Its name.
        resource_name: &'a str => 0..;
        /// Names of configurations, null for all.
        configuration_keys: Option<Array<'a, &'a str>> => 0.., default Some(Array::EMPTY);
    }
}

structures! {
    /// The configurations.
    DescribeConfigsReply<'a> {
        /// How long the client is to wait because of a quota, in ms.
        throttle_time_ms: i32 => 0.., ignorable true;
        /// One row for each resource of the request.
        results: Array<'a, DescribedResource<'a>> => 0..;
    }

    /// The configuration of one resource.
    DescribedResource<'a> {
        /// Whether it is known.
        error_code: KafkaError => 0..;
        /// What is wrong, in words; null for nothing.
        error_message: Option<&'a str> => 0.., default Some("");
        /// Its kind, see [`resource_type`].
        resource_type: i8 => 0..;
        /// Its name.
        resource_name: &'a str => 0..;
        /// One row a configuration.
        configs: Array<'a, DescribedConfig<'a>> => 0..;
    }

    /// One configuration.
    DescribedConfig<'a> {
        /// Its name.
        name: &'a str => 0..;
        /// Its value; null for a secret.
        value: Option<&'a str> => 0.., default Some("");
        /// Whether nobody can change it.
        read_only: bool => 0..;
        /// Where the value comes from, see [`config_source`].
        config_source: i8 => 1.., default -1, ignorable true;
        /// Whether the value is secret.
        is_sensitive: bool => 0..;
        /// What would hold if it were not set, the nearest first, beginning with what holds now.
        synonyms: Array<'a, ConfigSynonym<'a>> => 1.., ignorable true;
        /// The kind of value, see [`config_type`].
        config_type: i8 => 3.., ignorable true;
        /// What it is for.
        documentation: Option<&'a str> => 3.., default Some(""), ignorable true;
    }

    /// A value that would hold, or holds.
    ConfigSynonym<'a> {
        /// The name under which it is set.
        name: &'a str => 1..;
        /// The value.
        value: Option<&'a str> => 1.., default Some("");
        /// Where it comes from, see [`config_source`].
        source: i8 => 1..;
    }
}

structures! {
    /// Whole configurations: what is not named goes back to what holds when nobody sets it.
    AlterConfigsRequest<'a> {
        /// One row a resource.
        resources: Array<'a, AlterConfigsResource<'a>> => 0..;
        /// Whether to check only.
        validate_only: bool => 0..;
    }

    /// The configuration of one resource.
    AlterConfigsResource<'a> {
        /// Its kind, see [`resource_type`].
        resource_type: i8 => 0..;
        /// Its name.
        resource_name: &'a str => 0..;
        /// Everything that is to be set.
        configs: Array<'a, AlterableConfig<'a>> => 0..;
    }

    /// One configuration.
    AlterableConfig<'a> {
        /// Its name.
        name: &'a str => 0..;
        /// Its value.
        value: Option<&'a str> => 0.., default Some("");
    }

    /// What became of them.
    AlterConfigsReply<'a> {
        /// How long the client is to wait because of a quota, in ms.
        throttle_time_ms: i32 => 0.., ignorable true;
        /// One row for each resource of the request.
        responses: Array<'a, AlteredResource<'a>> => 0..;
    }

    /// What became of one resource, in both ways of altering.
    AlteredResource<'a> {
        /// Whether it was altered.
        error_code: KafkaError => 0..;
        /// What is wrong, in words; null for nothing.
        error_message: Option<&'a str> => 0.., default Some("");
        /// Its kind, see [`resource_type`].
        resource_type: i8 => 0..;
        /// Its name.
        resource_name: &'a str => 0..;
    }
}

structures! {
    /// Changes of configurations: what is not named stays.
    IncrementalAlterConfigsRequest<'a> {
        /// One row a resource.
        resources: Array<'a, IncrementalResource<'a>> => 0..;
        /// Whether to check only.
        validate_only: bool => 0..;
    }

    /// The changes of one resource.
    IncrementalResource<'a> {
        /// Its kind, see [`resource_type`].
        resource_type: i8 => 0..;
        /// Its name.
        resource_name: &'a str => 0..;
        /// One row a configuration.
        configs: Array<'a, IncrementalConfig<'a>> => 0..;
    }

    /// The change of one configuration.
    IncrementalConfig<'a> {
        /// Its name.
        name: &'a str => 0..;
        /// What to do, see [`config_operation`].
        config_operation: i8 => 0..;
        /// The value; null to delete.
        value: Option<&'a str> => 0.., default Some("");
    }

    /// What became of them.
    IncrementalAlterConfigsReply<'a> {
        /// How long the client is to wait because of a quota, in ms.
        throttle_time_ms: i32 => 0.., ignorable true;
        /// One row for each resource of the request.
        responses: Array<'a, AlteredResource<'a>> => 0..;
    }
}
