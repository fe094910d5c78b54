//! Every rule of the ledger, broken once.

use ouzel_protocol::{
    BatchBuilder, Codec, DecodeLimits, DecodedBatch, Dialect, Durability, LeaderEpoch, Offset, patched_prefix,
};

use super::*;

const SEED: u64 = 7;
const EPOCH: LeaderEpoch = LeaderEpoch(1);

fn ledger() -> Ledger {
    let partitions = vec![("t/0".to_owned(), Durability::Disk), ("t/1".to_owned(), Durability::Written)];
    let mut ledger = Ledger::new(SEED, 2, partitions);
    ledger.started(&[EPOCH, EPOCH]).expect("the first start");
    ledger
}

/// The bytes of a batch as the broker would store them.
fn stored(first: Identity, record_count: u32, base: u64, epoch: LeaderEpoch) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Dialect::Native, Codec::Lz4, None);
    let mut value = Vec::new();
    for at in 0..record_count {
        let identity = Identity { sequence: first.sequence + u64::from(at), ..first };
        identity.value_into(SEED, Size::Small, &mut value);
        let key = identity.key();
        builder.push(identity.timestamp(), key.as_ref().map(|key| key.as_slice()), Some(&value), identity.headers());
    }
    let mut bytes = builder.build().expect("a sound batch");
    let header = ouzel_protocol::check_batch(&bytes).expect("a sound batch");
    bytes[..16].copy_from_slice(&patched_prefix(&header, Offset(base), epoch));
    bytes
}

/// Reads `batches` of partition 0 in a pass, up to `end`.
fn pass(ledger: &mut Ledger, batches: &[Vec<u8>], end: u64) -> Result<(), Fault> {
    ledger.begin_pass();
    for bytes in batches {
        let decoded = DecodedBatch::decode(bytes, &DecodeLimits::default()).expect("a sound batch");
        for record in decoded.records() {
            ledger.passed(0, decoded.header().leader_epoch, &record.expect("a sound record"))?;
        }
    }
    ledger.end_pass(&[Offset(end), Offset::ZERO], Loss::None).map(drop)
}

fn sentence(result: Result<(), Fault>) -> String {
    result.expect_err("a fault").to_string()
}

#[test]
fn what_was_acknowledged_and_lies_there_passes() {
    let mut ledger = ledger();
    let (key, first) = ledger.sending(0, 0, Size::Small, 3);
    let (_, unanswered) = ledger.sending(0, 0, Size::Small, 2);
    ledger.acked(key, Offset(0), EPOCH, Durability::Disk, Instant::now()).expect("a true answer");
    let batches = [stored(first, 3, 0, EPOCH), stored(unanswered, 2, 3, EPOCH)];
    pass(&mut ledger, &batches, 5).expect("all is well");
    pass(&mut ledger, &batches, 5).expect("and stays so");
    assert_eq!((ledger.totals().records_acked, ledger.totals().records_read), (3, 10));
}

#[test]
fn an_acknowledged_batch_that_is_gone_is_lost() {
    let mut ledger = ledger();
    let (key, _) = ledger.sending(0, 0, Size::Small, 3);
    ledger.acked(key, Offset(0), EPOCH, Durability::Disk, Instant::now()).expect("a true answer");
    assert!(sentence(pass(&mut ledger, &[], 0)).contains("LOST"));
}

#[test]
fn an_acknowledged_batch_at_another_offset_is_a_fault() {
    let mut ledger = ledger();
    let (_, before) = ledger.sending(1, 0, Size::Small, 1);
    let (key, first) = ledger.sending(0, 0, Size::Small, 3);
    ledger.acked(key, Offset(0), EPOCH, Durability::Disk, Instant::now()).expect("a true answer");
    let batches = [stored(before, 1, 0, EPOCH), stored(first, 3, 1, EPOCH)];
    assert!(sentence(pass(&mut ledger, &batches, 4)).contains("acknowledged at offset 0 and lies at 1"));
}

#[test]
fn a_batch_that_was_not_sent_or_is_there_twice_or_in_part_is_a_fault() {
    let mut ledger = ledger();
    let (_, first) = ledger.sending(0, 0, Size::Small, 2);
    let foreign = Identity { producer: 1, sequence: 0 };
    assert!(sentence(pass(&mut ledger, &[stored(foreign, 1, 0, EPOCH)], 1)).contains("never sent"));
    let twice = [stored(first, 2, 0, EPOCH), stored(first, 2, 2, EPOCH)];
    assert!(sentence(pass(&mut ledger, &twice, 4)).contains("lies at offset 2 and at"));
    let mut ledger = self::ledger();
    ledger.sending(0, 0, Size::Small, 2);
    assert!(sentence(pass(&mut ledger, &[stored(first, 1, 0, EPOCH)], 1)).contains("only 1 of its 2 records"));
}

#[test]
fn a_batch_in_another_partition_is_a_fault() {
    let mut ledger = ledger();
    let (_, first) = ledger.sending(0, 1, Size::Small, 1);
    assert!(sentence(pass(&mut ledger, &[stored(first, 1, 0, EPOCH)], 1)).contains("sent to partition number 1"));
}

#[test]
fn batches_of_one_producer_out_of_order_or_with_a_hole_are_a_fault() {
    let mut ledger = ledger();
    let (_, first) = ledger.sending(0, 0, Size::Small, 1);
    let (_, second) = ledger.sending(0, 0, Size::Small, 1);
    let swapped = [stored(second, 1, 0, EPOCH), stored(first, 1, 1, EPOCH)];
    assert!(sentence(pass(&mut ledger, &swapped, 2)).contains("in front of an earlier batch"));
    let mut ledger = self::ledger();
    ledger.sending(0, 0, Size::Small, 1);
    let (_, second) = ledger.sending(0, 0, Size::Small, 1);
    assert!(
        sentence(pass(&mut ledger, &[stored(second, 1, 0, EPOCH)], 1))
            .contains("is there, but the batch in front of it")
    );
}

#[test]
fn a_refused_batch_leaves_no_hole() {
    let mut ledger = ledger();
    let (refused, _) = ledger.sending(0, 0, Size::Small, 1);
    let (_, second) = ledger.sending(0, 0, Size::Small, 1);
    ledger.refused(refused, ErrorCode::Overloaded);
    pass(&mut ledger, &[stored(second, 1, 0, EPOCH)], 1).expect("the first was refused");
}

#[test]
fn what_was_seen_once_may_neither_change_nor_vanish() {
    let mut ledger = ledger();
    let (_, first) = ledger.sending(0, 0, Size::Small, 1);
    pass(&mut ledger, &[stored(first, 1, 0, EPOCH)], 1).expect("seen");
    let (_, other) = ledger.sending(1, 0, Size::Small, 1);
    assert!(sentence(pass(&mut ledger, &[], 0)).contains("is gone"));
    let said = sentence(pass(&mut ledger, &[stored(other, 1, 0, EPOCH)], 1));
    assert!(said.contains("held another record"), "{said}");
}

#[test]
fn offsets_have_no_gap_and_reach_the_high_watermark() {
    let mut ledger = ledger();
    let (_, first) = ledger.sending(0, 0, Size::Small, 1);
    assert!(sentence(pass(&mut ledger, &[stored(first, 1, 4, EPOCH)], 5)).contains("offset 4 follows where 0 is due"));
    assert!(sentence(pass(&mut ledger, &[stored(first, 1, 0, EPOCH)], 2)).contains("the high watermark is 2"));
}

#[test]
fn leader_epochs_rise_with_every_start_and_batches_keep_theirs() {
    let mut ledger = ledger();
    let (_, first) = ledger.sending(0, 0, Size::Small, 1);
    assert!(sentence(ledger.started(&[EPOCH, LeaderEpoch(2)])).contains("leader epoch 1 after a restart"));
    let mut ledger = self::ledger();
    ledger.sending(0, 0, Size::Small, 1);
    ledger.started(&[LeaderEpoch(2), LeaderEpoch(3)]).expect("both rose");
    assert!(sentence(pass(&mut ledger, &[stored(first, 1, 0, LeaderEpoch(2))], 1)).contains("carries leader epoch 2"));
}

#[test]
fn answers_that_cannot_be_true_are_faults() {
    let mut ledger = ledger();
    let (key, _) = ledger.sending(0, 0, Size::Small, 1);
    assert!(
        sentence(ledger.acked(key, Offset(0), EPOCH, Durability::Written, Instant::now())).contains("asks for disk")
    );
    assert!(
        sentence(ledger.acked(key, Offset(0), LeaderEpoch(9), Durability::Disk, Instant::now()))
            .contains("metadata has 1")
    );
    ledger.acked(key, Offset(0), EPOCH, Durability::Disk, Instant::now()).expect("a true answer");
    assert!(sentence(ledger.acked(key, Offset(0), EPOCH, Durability::Disk, Instant::now())).contains("answered twice"));
}

#[test]
fn a_record_with_one_byte_changed_is_a_fault() {
    let mut ledger = ledger();
    let (_, first) = ledger.sending(0, 0, Size::Small, 1);
    let mut value = Vec::new();
    first.value_into(SEED, Size::Small, &mut value);
    *value.last_mut().expect("a value") ^= 1;
    let record = Record {
        offset: Offset(0),
        timestamp: first.timestamp(),
        key: None,
        value: Some(&value),
        headers: Default::default(),
    };
    assert!(sentence(ledger.observed(0, EPOCH, &record)).contains("its value is not as it was sent"));
}

#[test]
fn a_batch_that_was_gone_may_not_come_back() {
    let mut ledger = ledger();
    let (_, first) = ledger.sending(0, 0, Size::Small, 1);
    pass(&mut ledger, &[], 0).expect("it was never acknowledged");
    assert!(sentence(pass(&mut ledger, &[stored(first, 1, 0, EPOCH)], 1)).contains("was not there after the end"));
}

#[test]
fn nothing_is_acknowledged_after_a_partition_has_failed_but_what_was_sent_before() {
    let mut ledger = ledger();
    let (early, _) = ledger.sending(0, 0, Size::Small, 1);
    let (failed, _) = ledger.sending(0, 0, Size::Small, 1);
    ledger.refused(failed, ErrorCode::StorageError);
    let (late, _) = ledger.sending(0, 0, Size::Small, 1);
    ledger.acked(early, Offset(0), EPOCH, Durability::Disk, Instant::now()).expect("sent before the failure");
    let error = ledger.acked(late, Offset(1), EPOCH, Durability::Disk, Instant::now());
    assert!(sentence(error).contains("said to have failed"));
}

/// A batch of the partition at level `written`, acknowledged `age` before the power went; a pass that ends at `end`.
fn written_loss(durability: Durability, age: Duration, end: u64) -> Result<Lost, Fault> {
    let mut ledger = ledger();
    let (key, _) = ledger.sending(0, 1, Size::Small, 2);
    let at = Instant::now();
    ledger.acked(key, Offset(3), EPOCH, durability, at).expect("a true answer");
    ledger.begin_pass();
    // What lies in front of it is of no interest here.
    ledger.partitions[1].next_in_pass = Offset(end);
    ledger.end_pass(
        &[Offset::ZERO, Offset(end)],
        Loss::Written { ended_at: at + age, age_max: Duration::from_millis(20) },
    )
}

#[test]
fn a_power_cut_takes_young_written_records_at_the_end_and_nothing_else() {
    let young = Duration::from_millis(7);
    let lost = written_loss(Durability::Written, young, 3).expect("it may be lost");
    assert_eq!(lost, Lost { records: 2, age_max: young });
    let fault = |result: Result<Lost, Fault>| result.expect_err("a fault").to_string();
    assert!(fault(written_loss(Durability::Disk, young, 3)).contains("level disk"));
    assert!(fault(written_loss(Durability::Written, Duration::from_millis(21), 3)).contains("20 ms are allowed"));
    assert!(fault(written_loss(Durability::Written, young, 4)).contains("the log goes on behind it"));
}
