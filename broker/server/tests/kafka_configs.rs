//! Settings as Kafka's clients see and change them: what there is, where it comes from, what holds after a change and after a
//! restart, and what is refused.

mod support;

use std::collections::BTreeMap;

use ouzel_broker::{BrokerConfig, TopicDefaults};
use ouzel_protocol::Codec;
use ouzel_protocol::kafka::{
    AlterConfigsReply, AlterConfigsRequest, AlterConfigsResource, AlterableConfig, CreatableConfig, CreatableTopic,
    CreateTopicsReply, CreateTopicsRequest, DescribeConfigsReply, DescribeConfigsRequest, DescribeConfigsResource,
    DescribedConfig, IncrementalAlterConfigsReply, IncrementalAlterConfigsRequest, IncrementalConfig,
    IncrementalResource, KafkaError, config_operation, config_source, config_type, resource_type,
};
use support::directory;
use support::kafka::{KafkaClient, batch, start};

/// A setting, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    value: String,
    source: i8,
    read_only: bool,
    kind: i8,
    has_documentation: bool,
    synonyms: Vec<(String, String, i8)>,
}

impl Setting {
    fn of(config: &DescribedConfig<'_>) -> (String, Self) {
        let owned = |text: Option<&str>| text.expect("nothing is secret").to_owned();
        let synonyms = config.synonyms.iter().map(|row| (row.name.to_owned(), owned(row.value), row.source));
        let setting = Self {
            value: owned(config.value),
            source: config.config_source,
            read_only: config.read_only,
            kind: config.config_type,
            has_documentation: config.documentation.is_some_and(|text| !text.is_empty()),
            synonyms: synonyms.collect(),
        };
        (config.name.to_owned(), setting)
    }
}

/// A resource and all that is to be set of it.
type Whole<'a> = (i8, &'a str, &'a [(&'a str, Option<&'a str>)]);

/// Operations on single settings.
type Changes<'a> = &'a [(&'a str, i8, Option<&'a str>)];

type Described = Result<BTreeMap<String, Setting>, KafkaError>;

fn describe_all(
    client: &mut KafkaClient,
    resources: &[(i8, &str)],
    keys: Option<&[&str]>,
    details: bool,
) -> Vec<Described> {
    let rows: Vec<_> = resources
        .iter()
        .map(|(resource_type, resource_name)| DescribeConfigsResource {
            resource_type: *resource_type,
            resource_name,
            configuration_keys: keys.map(|keys| keys.iter().copied().collect()),
        })
        .collect();
    let asked =
        DescribeConfigsRequest { resources: rows.into(), include_synonyms: details, include_documentation: details };
    let reply = client.ask(4, &asked);
    let reply: DescribeConfigsReply<'_> = reply.decode();
    let row = |row: ouzel_protocol::kafka::DescribedResource<'_>| match row.error_code {
        KafkaError::NONE => Ok(row.configs.iter().map(|config| Setting::of(&config)).collect()),
        error => {
            assert!(row.error_message.is_some_and(|message| !message.is_empty()) && row.configs.is_empty());
            Err(error)
        }
    };
    reply.results.iter().map(row).collect()
}

fn describe(client: &mut KafkaClient, kind: i8, name: &str) -> Described {
    describe_all(client, &[(kind, name)], None, true).remove(0)
}

fn setting(client: &mut KafkaClient, topic: &str, key: &str) -> (String, i8) {
    let all = describe(client, resource_type::TOPIC, topic).expect("a topic");
    let found = all.get(key).expect("a known key");
    (found.value.clone(), found.source)
}

fn create(client: &mut KafkaClient, name: &str, configs: &[(&str, &str)]) -> KafkaError {
    let configs: Vec<_> = configs.iter().map(|(name, value)| CreatableConfig { name, value: Some(value) }).collect();
    let topic = CreatableTopic {
        name,
        num_partitions: 2,
        replication_factor: -1,
        configs: configs.into(),
        ..CreatableTopic::default()
    };
    let asked = CreateTopicsRequest { topics: [topic].into_iter().collect(), ..CreateTopicsRequest::default() };
    let reply = client.ask(7, &asked);
    reply.decode::<CreateTopicsReply<'_>>().topics.iter().next().expect("one topic").error_code
}

/// Changes single settings of one resource.
fn change_of(
    client: &mut KafkaClient,
    (resource_type, resource_name): (i8, &str),
    changes: Changes<'_>,
    validate_only: bool,
) -> KafkaError {
    let change = |&(name, config_operation, value)| IncrementalConfig { name, config_operation, value };
    let configs: Vec<IncrementalConfig<'_>> = changes.iter().map(change).collect();
    let resource = IncrementalResource { resource_type, resource_name, configs: configs.into() };
    let asked = IncrementalAlterConfigsRequest { resources: [resource].into_iter().collect(), validate_only };
    let reply = client.ask(1, &asked);
    let row = reply.decode::<IncrementalAlterConfigsReply<'_>>().responses.iter().next().expect("one resource");
    assert_eq!((row.resource_type, row.resource_name), (resource_type, resource_name));
    assert_eq!(row.error_message.is_some(), row.error_code != KafkaError::NONE);
    row.error_code
}

fn change(client: &mut KafkaClient, topic: &str, changes: Changes<'_>) -> KafkaError {
    change_of(client, (resource_type::TOPIC, topic), changes, false)
}

/// Replaces all settings of resources.
fn replace(client: &mut KafkaClient, rows: &[Whole<'_>], validate_only: bool) -> Vec<KafkaError> {
    let rows: Vec<_> = rows
        .iter()
        .map(|(resource_type, resource_name, configs)| AlterConfigsResource {
            resource_type: *resource_type,
            resource_name,
            configs: configs.iter().map(|&(name, value)| AlterableConfig { name, value }).collect(),
        })
        .collect();
    let reply = client.ask(1, &AlterConfigsRequest { resources: rows.into(), validate_only });
    reply.decode::<AlterConfigsReply<'_>>().responses.iter().map(|row| row.error_code).collect()
}

#[test]
fn settings_are_described_and_changed_in_both_ways() {
    let dir = directory();
    let mut broker = start(dir.path(), 2);
    let mut client = KafkaClient::connect(&broker);
    create(&mut client, "orders", &[]);
    assert_eq!(setting(&mut client, "orders", "cleanup.policy"), ("delete".to_owned(), config_source::DEFAULT));
    let set = |key, value| [(key, config_operation::SET, Some(value))];
    assert_eq!(change(&mut client, "orders", &set("max.message.bytes", "2000")), KafkaError::NONE);
    assert_eq!(change(&mut client, "orders", &set("segment.bytes", "2097152")), KafkaError::NONE);
    assert_eq!(change(&mut client, "orders", &set("segment.bytes", "1")), KafkaError::INVALID_CONFIG);
    assert_eq!(change(&mut client, "orders", &set("no.such.key", "1")), KafkaError::INVALID_CONFIG);
    assert_eq!(
        change(&mut client, "nowhere", &set("segment.bytes", "2097152")),
        KafkaError::UNKNOWN_TOPIC_OR_PARTITION
    );
    let append = |key, value| [(key, config_operation::APPEND, Some(value))];
    assert_eq!(change(&mut client, "orders", &append("cleanup.policy", "delete")), KafkaError::NONE);
    assert_eq!(change(&mut client, "orders", &append("cleanup.policy", "compact")), KafkaError::INVALID_CONFIG);
    assert_eq!(change(&mut client, "orders", &append("segment.bytes", "1")), KafkaError::INVALID_CONFIG);
    let large = batch(Codec::None, &[&"x".repeat(3000)]);
    assert_eq!(client.produce("orders", 0, &large).error_code, KafkaError::MESSAGE_TOO_LARGE, "it holds at once");
    broker.stop().expect("a clean stop");
    broker = start(dir.path(), 1);
    let mut client = KafkaClient::connect(&broker);
    assert_eq!(setting(&mut client, "orders", "max.message.bytes"), ("2000".to_owned(), config_source::TOPIC));
    assert_eq!(
        change(&mut client, "orders", &[("max.message.bytes", config_operation::DELETE, None)]),
        KafkaError::NONE
    );
    assert_eq!(setting(&mut client, "orders", "max.message.bytes").1, config_source::DEFAULT);
    assert_eq!(setting(&mut client, "orders", "segment.bytes").1, config_source::TOPIC);
    // The older way replaces everything.
    let given: &[(&str, Option<&str>)] = &[("max.message.bytes", Some("5000"))];
    assert_eq!(replace(&mut client, &[(resource_type::TOPIC, "orders", given)], true), [KafkaError::NONE]);
    assert_eq!(setting(&mut client, "orders", "max.message.bytes").1, config_source::DEFAULT, "it was a question");
    assert_eq!(replace(&mut client, &[(resource_type::TOPIC, "orders", given)], false), [KafkaError::NONE]);
    assert_eq!(setting(&mut client, "orders", "max.message.bytes"), ("5000".to_owned(), config_source::TOPIC));
    assert_eq!(setting(&mut client, "orders", "segment.bytes").1, config_source::DEFAULT);
}

#[test]
fn what_was_set_is_told_from_what_holds_anyway() {
    let dir = directory();
    let broker = start(dir.path(), 2);
    let mut client = KafkaClient::connect(&broker);
    let given = [("retention.ms", "-1"), ("cleanup.policy", "delete"), ("segment.bytes", "1048576")];
    assert_eq!(create(&mut client, "orders", &given), KafkaError::NONE);
    broker.stop().expect("a clean stop");
    let broker = start(dir.path(), 2);
    let mut client = KafkaClient::connect(&broker);
    let all = describe(&mut client, resource_type::TOPIC, "orders").expect("a topic");
    let set: Vec<_> =
        all.iter().filter(|(_, row)| row.source == config_source::TOPIC).map(|(key, _)| key.as_str()).collect();
    assert_eq!(set, ["cleanup.policy", "retention.ms", "segment.bytes"]);
    assert!(all.values().all(|row| !row.read_only && row.has_documentation));
    let synonym = |name: &str, value: &str, source| (name.to_owned(), value.to_owned(), source);
    assert_eq!(
        all["segment.bytes"].synonyms,
        [
            synonym("segment.bytes", "1048576", config_source::TOPIC),
            synonym("log.segment.bytes", "1073741824", config_source::DEFAULT)
        ]
    );
    assert_eq!(all["ouzel.durability"].synonyms, [synonym("ouzel.durability", "disk", config_source::DEFAULT)]);
    let kinds = [
        ("cleanup.policy", config_type::LIST),
        ("retention.ms", config_type::LONG),
        ("max.message.bytes", config_type::INT),
        ("compression.type", config_type::STRING),
    ];
    for (key, kind) in kinds {
        assert_eq!(all[key].kind, kind, "{key}");
    }
    assert_eq!(change(&mut client, "orders", &[("retention.ms", config_operation::DELETE, None)]), KafkaError::NONE);
    assert_eq!(setting(&mut client, "orders", "retention.ms"), ("-1".to_owned(), config_source::DEFAULT));
    broker.stop().expect("a clean stop");
}

#[test]
fn only_what_is_asked_for_is_described() {
    let dir = directory();
    let broker = start(dir.path(), 1);
    let mut client = KafkaClient::connect(&broker);
    create(&mut client, "orders", &[]);
    let topic = (resource_type::TOPIC, "orders");
    let keys = ["segment.bytes", "no.such.key", "retention.ms"];
    let some = describe_all(&mut client, &[topic], Some(&keys), false).remove(0).expect("a topic");
    assert_eq!(some.keys().collect::<Vec<_>>(), ["retention.ms", "segment.bytes"]);
    assert!(some.values().all(|row| row.synonyms.is_empty() && !row.has_documentation));
    let all = describe_all(&mut client, &[topic], None, false).remove(0).expect("a topic");
    let none_named = describe_all(&mut client, &[topic], Some(&[]), false).remove(0).expect("a topic");
    assert_eq!((all.len(), none_named.len()), (10, 10));
    let resources = [
        topic,
        (resource_type::TOPIC, "nowhere"),
        (resource_type::TOPIC, "not/legal"),
        (resource_type::BROKER, "9"),
        (resource_type::BROKER, "x"),
        (resource_type::GROUP, "g"),
        (resource_type::BROKER, ""),
        topic,
    ];
    let errors: Vec<_> =
        describe_all(&mut client, &resources, None, true).into_iter().map(|row| row.map(|all| all.len())).collect();
    let invalid = Err(KafkaError::INVALID_REQUEST);
    assert_eq!(
        errors,
        [
            invalid,
            Err(KafkaError::UNKNOWN_TOPIC_OR_PARTITION),
            Err(KafkaError::INVALID_TOPIC_EXCEPTION),
            invalid,
            invalid,
            invalid,
            Ok(0),
            invalid
        ]
    );
}

#[test]
fn the_broker_describes_what_it_was_started_with() {
    let dir = directory();
    let config = BrokerConfig {
        kafka: Some(std::net::SocketAddr::from(([127, 0, 0, 1], 0))),
        topic_defaults: TopicDefaults { auto_create: true, partitions: 3 },
        ..support::config(dir.path(), 1)
    };
    let broker = support::try_start(config).expect("the broker starts");
    let mut client = KafkaClient::connect(&broker);
    let all = describe(&mut client, resource_type::BROKER, "0").expect("this node");
    assert!(all.values().all(|row| row.read_only && row.has_documentation && row.synonyms.len() == 1));
    let row = |key: &str| (all[key].value.as_str(), all[key].source, all[key].kind);
    assert_eq!(row("num.partitions"), ("3", config_source::STATIC_BROKER, config_type::INT));
    assert_eq!(row("auto.create.topics.enable"), ("true", config_source::DEFAULT, config_type::BOOLEAN));
    assert_eq!(row("log.retention.ms"), ("-1", config_source::DEFAULT, config_type::LONG));
    assert_eq!(row("node.id"), ("0", config_source::STATIC_BROKER, config_type::INT));
    assert_eq!(create_default(&mut client), 3, "as it says");
    let set = [("num.partitions", config_operation::SET, Some("5"))];
    for kind in [resource_type::BROKER, resource_type::BROKER_LOGGER] {
        assert_eq!(change_of(&mut client, (kind, "0"), &set, false), KafkaError::INVALID_REQUEST);
    }
}

/// Creates a topic with the broker's own counts and returns how many partitions it has.
fn create_default(client: &mut KafkaClient) -> i32 {
    let topic =
        CreatableTopic { name: "defaults", num_partitions: -1, replication_factor: -1, ..CreatableTopic::default() };
    let reply =
        client.ask(7, &CreateTopicsRequest { topics: [topic].into_iter().collect(), ..CreateTopicsRequest::default() });
    reply.decode::<CreateTopicsReply<'_>>().topics.iter().next().expect("one topic").num_partitions
}

#[test]
fn a_resource_is_changed_whole_or_not_at_all() {
    let dir = directory();
    let broker = start(dir.path(), 1);
    let mut client = KafkaClient::connect(&broker);
    create(&mut client, "orders", &[("segment.bytes", "1048576")]);
    let (set, append, subtract, delete) =
        (config_operation::SET, config_operation::APPEND, config_operation::SUBTRACT, config_operation::DELETE);
    let refused: [(Changes<'_>, KafkaError); 9] = [
        (&[("max.message.bytes", set, Some("2000")), ("retention.ms", set, Some("1"))], KafkaError::INVALID_CONFIG),
        (&[("max.message.bytes", set, Some("2000")), ("no.such.key", append, Some("1"))], KafkaError::INVALID_CONFIG),
        (&[("max.message.bytes", set, Some("2000")), ("max.message.bytes", delete, None)], KafkaError::INVALID_REQUEST),
        (&[("max.message.bytes", set, None)], KafkaError::INVALID_REQUEST),
        (&[("max.message.bytes", 9, Some("2000"))], KafkaError::INVALID_REQUEST),
        (&[("max.message.bytes", append, Some("2000"))], KafkaError::INVALID_CONFIG),
        (&[("retention.ms", subtract, Some("-1"))], KafkaError::INVALID_CONFIG),
        (&[("cleanup.policy", subtract, Some("delete"))], KafkaError::INVALID_CONFIG),
        (&[("cleanup.policy", append, Some("delete,compact"))], KafkaError::INVALID_CONFIG),
    ];
    let before = describe(&mut client, resource_type::TOPIC, "orders");
    for (changes, expected) in refused {
        for validate_only in [true, false] {
            let topic = (resource_type::TOPIC, "orders");
            assert_eq!(change_of(&mut client, topic, changes, validate_only), expected, "{changes:?}");
        }
        assert_eq!(describe(&mut client, resource_type::TOPIC, "orders"), before, "{changes:?}");
    }
    let legal = [("max.message.bytes", set, Some("2000")), ("segment.bytes", delete, None)];
    let topic = (resource_type::TOPIC, "orders");
    assert_eq!(change_of(&mut client, topic, &legal, true), KafkaError::NONE);
    assert_eq!(describe(&mut client, resource_type::TOPIC, "orders"), before, "it was a question");
    assert_eq!(change_of(&mut client, topic, &legal, false), KafkaError::NONE);
    assert_eq!(setting(&mut client, "orders", "max.message.bytes"), ("2000".to_owned(), config_source::TOPIC));
    assert_eq!(setting(&mut client, "orders", "segment.bytes").1, config_source::DEFAULT);
    let rows: &[Whole<'_>] = &[
        (resource_type::TOPIC, "orders", &[("segment.bytes", None)]),
        (resource_type::TOPIC, "nowhere", &[]),
        (resource_type::BROKER, "0", &[]),
        (resource_type::TOPIC, "twice", &[]),
        (resource_type::TOPIC, "twice", &[]),
    ];
    let invalid = KafkaError::INVALID_REQUEST;
    assert_eq!(
        replace(&mut client, rows, false),
        [invalid, KafkaError::UNKNOWN_TOPIC_OR_PARTITION, invalid, invalid, invalid]
    );
}
