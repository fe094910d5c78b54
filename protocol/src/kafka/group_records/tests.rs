//! Records against bytes that were laid out by hand from Kafka's definitions, against themselves, and against damage.

use super::*;
use crate::ids::TopicId;
use crate::kafka::sample::Sampler;

/// Records of each kind that a test draws.
const ROUNDS: u64 = 200;

fn encoded(record: &StoredGroupRecord<'_>) -> (Vec<u8>, Option<Vec<u8>>) {
    let (mut key, mut value) = (Vec::new(), Vec::new());
    record.encode_key(&mut key).unwrap();
    let present = record.encode_value(&mut value).unwrap();
    (key, present.then_some(value))
}

fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Checks a record against its bytes, in hexadecimal digits with blanks between the fields, in both directions.
fn golden(record: &StoredGroupRecord<'_>, key: &str, value: &str) {
    let (their_key, their_value) = (key.replace(' ', ""), value.replace(' ', ""));
    let (key, value) = encoded(record);
    assert_eq!((text(&key), text(value.as_deref().unwrap_or_default())), (their_key, their_value));
    assert_eq!(StoredGroupRecord::decode(&key, value.as_deref()), Ok(Some(record.clone())));
}

#[test]
fn offsets_are_the_bytes_that_kafka_writes() {
    let key = OffsetCommitKey { group: "g", topic: "to", partition: 258 };
    let value = OffsetCommitValue {
        offset: 7,
        leader_epoch: 3,
        metadata: "m",
        commit_timestamp: 0x0102_0304_0506_0708,
        ..OffsetCommitValue::default()
    };
    let key_bytes = "0001 000167 0002746f 00000102";
    let record = StoredGroupRecord::OffsetCommit(key.clone(), Some(value.clone()));
    golden(&record, key_bytes, "0003 0000000000000007 00000003 00016d 0102030405060708");
    let named = OffsetCommitValue { topic_id: TopicId(0x11 << 120 | 0x22), ..value.clone() };
    let record = StoredGroupRecord::OffsetCommit(key.clone(), Some(named));
    let tag = "01 00 10 11000000000000000000000000000022";
    golden(&record, key_bytes, &format!("0004 0000000000000007 00000003 026d 0102030405060708 {tag}"));
    let expiring = OffsetCommitValue { leader_epoch: -1, expire_timestamp: 9, ..value };
    let record = StoredGroupRecord::OffsetCommit(key.clone(), Some(expiring));
    golden(&record, key_bytes, "0001 0000000000000007 00016d 0102030405060708 0000000000000009");
    golden(&StoredGroupRecord::OffsetCommit(key, None), key_bytes, "");
}

#[test]
fn a_classic_group_is_the_bytes_that_kafka_writes() {
    let member = GroupMetadataMember {
        member_id: "m",
        group_instance_id: Some("i"),
        client_id: "c",
        client_host: "/h",
        rebalance_timeout: 60_000,
        session_timeout: 45_000,
        subscription: &[1, 2],
        assignment: &[3],
    };
    let value = GroupMetadataValue {
        protocol_type: "consumer",
        generation: 5,
        protocol: Some("range"),
        leader: Some("m"),
        current_state_timestamp: 16,
        members: [member].into(),
    };
    let record = StoredGroupRecord::GroupMetadata(GroupMetadataKey { group: "g" }, Some(value));
    let head = "0003 0008636f6e73756d6572 00000005 000572616e6765 00016d 0000000000000010";
    let row = "00016d 000169 000163 00022f68 0000ea60 0000afc8 000000020102 0000000103";
    golden(&record, "0002 000167", &format!("{head} 00000001 {row}"));
    let empty = GroupMetadataValue { current_state_timestamp: 16, ..GroupMetadataValue::default() };
    let record = StoredGroupRecord::GroupMetadata(GroupMetadataKey { group: "g" }, Some(empty));
    golden(&record, "0002 000167", "0003 0000 00000000 ffff ffff 0000000000000010 00000000");
}

#[test]
fn a_group_whose_broker_assigns_is_the_bytes_that_kafka_writes() {
    let group = ConsumerGroupKey { group_id: "g" };
    let value = ConsumerGroupMetadataValue { epoch: 10, ..Default::default() };
    golden(&StoredGroupRecord::ConsumerGroupMetadata(group.clone(), Some(value)), "0003 000167", "0000 0000000a 00");
    let value = ConsumerGroupMetadataValue { epoch: 10, metadata_hash: 2, creation_time_ms: 3 };
    let record = StoredGroupRecord::ConsumerGroupMetadata(group.clone(), Some(value));
    golden(&record, "0003 000167", "0000 0000000a 02 00 08 0000000000000002 01 08 0000000000000003");
    let value = TargetAssignmentMetadataValue { assignment_epoch: 4, ..Default::default() };
    golden(&StoredGroupRecord::TargetAssignmentMetadata(group, Some(value)), "0006 000167", "0000 00000004 00");

    let key = RegularExpressionKey { group_id: "g", regular_expression: "a.*" };
    let value = RegularExpressionValue { topics: ["ab"].into(), version: 1, timestamp: 2 };
    let record = StoredGroupRecord::RegularExpression(key, Some(value));
    golden(&record, "0010 000167 0003612e2a", "0000 02 036162 0000000000000001 0000000000000002 00");
}

#[test]
fn a_member_is_the_bytes_that_kafka_writes() {
    let key = ConsumerGroupMemberKey { group_id: "g", member_id: "m" };
    let value = MemberMetadataValue {
        instance_id: Some("i"),
        client_id: "c",
        client_host: "/h",
        subscribed_topic_names: ["a", "b"].into(),
        rebalance_timeout_ms: 1,
        ..Default::default()
    };
    let record = StoredGroupRecord::MemberMetadata(key.clone(), Some(value.clone()));
    let body = "0000 0269 00 0263 032f68 03 0261 0262 00 00000001 00";
    golden(&record, "0005 000167 00016d", &format!("{body} 00"));
    let told = ClassicMemberProtocol { name: "r", metadata: &[9] };
    let classic = ClassicMemberMetadata { session_timeout_ms: 2, supported_protocols: [told].into() };
    let value = MemberMetadataValue { classic_member_metadata: Some(classic), ..value };
    let record = StoredGroupRecord::MemberMetadata(key.clone(), Some(value));
    // One tagged field of twelve bytes: not null, the timeout, one protocol, no tagged fields of the structure.
    golden(&record, "0005 000167 00016d", &format!("{body} 01 00 0c 01 00000002 02 0272 0209 00 00"));

    let topic = TargetTopicPartitions { topic_id: TopicId(1), partitions: [0, 5].into() };
    let value = TargetAssignmentMemberValue { topic_partitions: [topic].into() };
    let record = StoredGroupRecord::TargetAssignmentMember(key.clone(), Some(value));
    let topic_bytes = "00000000000000000000000000000001 03 00000000 00000005";
    golden(&record, "0007 000167 00016d", &format!("0000 02 {topic_bytes} 00 00"));

    let row = CurrentTopicPartitions { topic_id: TopicId(1), partitions: [0, 5].into(), assignment_epochs: None };
    let dated = CurrentTopicPartitions { assignment_epochs: Some([7, 8].into()), ..row.clone() };
    let value = CurrentMemberAssignmentValue {
        member_epoch: 9,
        previous_member_epoch: 8,
        state: 1,
        assigned_partitions: [dated].into(),
        partitions_pending_revocation: [row].into(),
    };
    let record = StoredGroupRecord::CurrentMemberAssignment(key, Some(value));
    let dates = "01 00 09 03 00000007 00000008";
    let rows = format!("02 {topic_bytes} {dates} 02 {topic_bytes} 00");
    golden(&record, "0008 000167 00016d", &format!("0000 00000009 00000008 01 {rows} 00"));
}

#[test]
fn versions_that_kafka_wrote_before_are_read() {
    let key = [0, 1, 0, 1, b'g', 0, 1, b't', 0, 0, 0, 0];
    let value = |bytes: &'static [u8]| match StoredGroupRecord::decode(&key, Some(bytes)) {
        Ok(Some(StoredGroupRecord::OffsetCommit(_, Some(value)))) => value,
        other => panic!("{other:?}"),
    };
    let bare = OffsetCommitValue { offset: 1, metadata: "", commit_timestamp: 2, ..Default::default() };
    const BARE: [u8; 20] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    const SECOND: [u8; 20] = [0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    assert_eq!(value(&BARE), bare);
    assert_eq!(value(&SECOND), bare);
    // The same key as old brokers wrote it.
    let mut old = key;
    old[1] = 0;
    let read = StoredGroupRecord::decode(&old, Some(&BARE));
    assert_eq!(read, StoredGroupRecord::decode(&key, Some(&BARE)));

    let sparse = GroupMetadataMember { member_id: "m", session_timeout: 5, ..Default::default() };
    let group = GroupMetadataValue { members: [sparse].into(), ..Default::default() };
    for version in 0..=4 {
        let mut bytes = version_bytes(version);
        group.write(&mut Writer::new("test", &mut bytes, GroupMetadataValue::shape(version), None), "group").unwrap();
        let read = StoredGroupRecord::decode(&[0, 2, 0, 1, b'g'], Some(&bytes));
        assert_eq!(
            read,
            Ok(Some(StoredGroupRecord::GroupMetadata(GroupMetadataKey { group: "g" }, Some(group.clone()))))
        );
    }
}

fn version_bytes(version: i16) -> Vec<u8> {
    version.to_be_bytes().to_vec()
}

#[test]
fn a_kind_of_others_is_skipped_and_a_version_of_the_future_is_not() {
    for kind in [9_i16, 11, 15, 17, 24, 100, -1] {
        let key = [&kind.to_be_bytes()[..], b"whatever"].concat();
        assert_eq!(StoredGroupRecord::decode(&key, Some(b"else")), Ok(None));
    }
    let (key, value) = encoded(&StoredGroupRecord::sample(3, &mut Sampler::new(1)));
    let mut value = value.expect("not a tombstone");
    for version in [1, -1, 300] {
        value[..2].copy_from_slice(&version_bytes(version));
        let error = StoredGroupRecord::decode(&key, Some(&value)).unwrap_err();
        assert_eq!(error.problem, DecodeProblem::Version { got: version });
    }
    assert!(StoredGroupRecord::decode(&[0], None).is_err());
}

#[test]
fn random_records_come_back_and_no_damage_panics_or_takes_memory() {
    for &kind in StoredGroupRecord::KINDS {
        for round in 0..ROUNDS {
            let seed = u64::from(kind.unsigned_abs()) << 32 | round;
            let record = StoredGroupRecord::sample(kind, &mut Sampler::new(seed));
            let (key, value) = encoded(&record);
            let decoded = StoredGroupRecord::decode(&key, value.as_deref());
            let again = encoded(&decoded.unwrap().unwrap());
            assert_eq!(again, (key.clone(), value.clone()), "kind {kind}, seed {seed}");
            if round < 20 {
                damage(&key, &value.unwrap_or_default(), kind);
            }
        }
    }
}

/// Every cut is refused, and so is a byte too many; any other byte in any place is read or refused, without memory.
fn damage(key: &[u8], value: &[u8], kind: i16) {
    let decode = |key: &[u8], value: &[u8]| {
        let mut fits = false;
        let run =
            || fits = StoredGroupRecord::decode(key, (!value.is_empty()).then_some(value)).is_ok_and(|r| r.is_some());
        assert_eq!(allocation_counter::measure(run).bytes_max, 0, "kind {kind}: decoding takes no memory");
        fits
    };
    for cut in 2..key.len() {
        assert!(!decode(&key[..cut], value), "kind {kind}: a key cut at {cut} was taken");
    }
    for cut in 1..value.len() {
        assert!(!decode(key, &value[..cut]), "kind {kind}: a value cut at {cut} was taken");
    }
    assert!(!decode(&[key, &[0]].concat(), value));
    assert!(value.is_empty() || !decode(key, &[value, &[0]].concat()));
    let mut bytes = value.to_vec();
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            bytes[at] ^= flip;
            decode(key, &bytes);
            bytes[at] ^= flip;
        }
    }
}

#[test]
fn what_is_written_of_a_record_takes_no_memory_but_that_of_the_buffer() {
    let mut out = Vec::with_capacity(256);
    let key = OffsetCommitKey { group: "group", topic: "orders", partition: 3 };
    let value = OffsetCommitValue { offset: 7, topic_id: TopicId(9), ..Default::default() };
    let record = StoredGroupRecord::OffsetCommit(key, Some(value));
    let taken = allocation_counter::measure(|| {
        record.encode_key(&mut out).unwrap();
        record.encode_value(&mut out).unwrap();
    });
    assert_eq!(taken.count_total, 0);
}

#[test]
fn a_name_that_is_too_long_leaves_the_buffer_as_it_was() {
    let long = "x".repeat(40_000);
    let record = StoredGroupRecord::GroupMetadata(GroupMetadataKey { group: &long }, None);
    let mut out = b"before".to_vec();
    assert_eq!(record.encode_key(&mut out).unwrap_err().what, "group");
    assert_eq!(out, b"before");
}
