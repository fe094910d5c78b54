//! The metadata log on real files: what survives, what is cut, what is refused.

use ouzel_protocol::crc;
use std::os::unix::fs::FileExt;
use std::pin::pin;
use std::task::Poll;

use ouzel_runtime::RunConfig;

use super::*;
use crate::format::metadata::parse_metadata_entry;

const FIRST: &str = "0000000000000001.log";
const SECOND: &str = "0000000000000002.log";
const UNFINISHED_SECOND: &str = "0000000000000002.tmp";

/// Opens the log in `dir` on a shard of its own, runs `work` on it, and drops it without any farewell.
fn with_log<T>(dir: &Path, work: impl AsyncFnOnce(&mut MetadataLog, LoadedLog) -> T) -> Result<T, MetadataLogError> {
    let run = ouzel_runtime::run(RunConfig::default(), |shard| async move {
        let (mut log, loaded) = MetadataLog::open(&shard.fs(), dir).await?;
        Ok(work(&mut log, loaded).await)
    });
    run.unwrap()
}

fn load(dir: &Path) -> Result<LoadedLog, MetadataLogError> {
    with_log(dir, async |_, loaded| loaded)
}

fn append_all(dir: &Path, payloads: &[&[u8]]) {
    let appended = with_log(dir, async |log, _| {
        for payload in payloads {
            log.append(payload).await.unwrap();
        }
    });
    appended.unwrap();
}

fn file_names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn overwrite(path: &Path, at: usize, bytes: &[u8]) {
    std::fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, at as u64).unwrap();
}

fn block(path: &Path, index: usize) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    bytes[index * BLOCK..(index + 1) * BLOCK].to_vec()
}

fn is_corrupt_at<T: std::fmt::Debug>(result: &Result<T, MetadataLogError>, at: usize) -> bool {
    matches!(result, Err(MetadataLogError::Corrupt { position, .. }) if *position == at as u64)
}

#[test]
fn a_new_log_is_empty_and_what_is_appended_survives() {
    let dir = tempfile::tempdir().unwrap();
    let dir = &dir.path().join("metadata");
    let empty = LoadedLog { generation: 1, ..LoadedLog::default() };
    assert_eq!(load(dir).unwrap(), empty);
    assert_eq!(load(dir).unwrap(), empty);
    let appended = with_log(dir, async |log, _| {
        assert_eq!(log.append(b"one").await.unwrap(), 1);
        assert_eq!(log.append_batch(&[b"two", b"", b"three"]).await.unwrap(), 4);
        assert_eq!(log.append_batch(&[]).await.unwrap(), 4);
        assert_eq!(log.last_index(), 4);
        assert_eq!(log.entry_bytes(), 4 * BLOCK as u64);
    });
    appended.unwrap();
    let expected: Vec<Vec<u8>> = [&b"one"[..], b"two", b"", b"three"].map(<[u8]>::to_vec).into();
    let loaded = load(dir).unwrap();
    assert_eq!(loaded, LoadedLog { entries: expected, ..empty });
    assert_eq!(file_names(dir), [FIRST]);
}

#[test]
fn a_snapshot_replaces_the_entries_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let compacted = with_log(dir, async |log, _| {
        log.append_batch(&[b"one", b"two"]).await.unwrap();
        log.compact(b"state of two").await.unwrap();
        assert_eq!((log.last_index(), log.generation(), log.entry_bytes()), (2, 2, 0));
        assert_eq!(log.append(b"three").await.unwrap(), 3);
    });
    compacted.unwrap();
    assert_eq!(file_names(dir), [SECOND]);
    let expected = LoadedLog {
        snapshot: Some(b"state of two".to_vec()),
        entries: vec![b"three".to_vec()],
        snapshot_index: 2,
        generation: 2,
        cut: None,
        discarded: None,
    };
    assert_eq!(load(dir).unwrap(), expected);
}

#[test]
fn entries_and_snapshots_of_many_sizes_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let header = crate::format::metadata::METADATA_HEADER_BYTES;
    let sizes = [0, BLOCK - header, BLOCK - header + 1, STEP - header, STEP - header + 1, 3 * STEP, 1];
    let payloads: Vec<Vec<u8>> = sizes.iter().map(|bytes| (0..*bytes).map(|at| (at % 251) as u8).collect()).collect();
    let parts: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
    append_all(dir, &parts);
    assert_eq!(load(dir).unwrap().entries, payloads);
    let compacted = with_log(dir, async |log, _| {
        log.compact(&payloads[5]).await.unwrap();
        log.append_batch(&parts).await.unwrap();
    });
    compacted.unwrap();
    let loaded = load(dir).unwrap();
    assert_eq!(loaded.snapshot.as_ref(), Some(&payloads[5]));
    assert_eq!((loaded.entries, loaded.cut), (payloads, None));
}

#[test]
fn a_torn_entry_is_cut_and_the_whole_one_behind_it_never_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let path = dir.join(FIRST);
    let batch = with_log(dir, async |log, _| {
        log.append(b"one").await.unwrap();
        log.append_batch(&[b"two", b"three"]).await.unwrap();
    });
    batch.unwrap();
    // As a power cut before the sync would leave it: no seal, "two" torn, "three" whole.
    overwrite(&path, 4 * BLOCK, &[0; BLOCK]);
    overwrite(&path, 2 * BLOCK + 8, &[0xff; 512]);
    let loaded = load(dir).unwrap();
    assert_eq!(loaded.entries, [b"one"]);
    let cut = loaded.cut.unwrap();
    assert_eq!((cut.position, cut.index, cut.path), (2 * BLOCK as u64, 2, path.clone()));
    assert_eq!(block(&path, 3), [0; BLOCK]);

    // The very same entry again: the old "three" would name its checksum.
    append_all(dir, &[b"two"]);
    let loaded = load(dir).unwrap();
    assert_eq!((loaded.entries, loaded.cut), (vec![b"one".to_vec(), b"two".to_vec()], None));
}

#[test]
fn a_torn_write_over_the_seal_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    append_all(dir, &[b"one"]);
    let seal = block(&dir.join(FIRST), 2);
    append_all(dir, &[&[7; 3 * BLOCK]]);
    // The first block was not written, the others were.
    overwrite(&dir.join(FIRST), 2 * BLOCK, &seal);
    overwrite(&dir.join(FIRST), 6 * BLOCK, &[0; BLOCK]);
    let loaded = load(dir).unwrap();
    assert_eq!(loaded.entries, [b"one"]);
    assert_eq!(loaded.cut.unwrap().position, 3 * BLOCK as u64);
    let loaded = load(dir).unwrap();
    assert_eq!((loaded.entries, loaded.cut), (vec![b"one".to_vec()], None));
}

#[test]
fn every_flipped_bit_is_refused_or_reported_and_never_read_as_something_else() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let path = dir.join(FIRST);
    append_all(dir, &[b"one", b"two"]);
    let expected = load(dir).unwrap().entries;
    let sound = std::fs::read(&path).unwrap();
    let seal_at = 3 * BLOCK;
    // A bit of every byte of headers and payloads, and one in each 499 bytes of padding, of snapshot, entries, seal and
    // one blank block. `crash_tests` flips the others.
    let bytes_and_bits = (0..5 * BLOCK).filter(|at| at % BLOCK < 72 || at % 499 == 0).map(|at| (at, (at / 3) % 8));
    for (at, bit) in bytes_and_bits {
        overwrite(&path, at, &[sound[at] ^ (1 << bit)]);
        let loaded = load(dir);
        if at < seal_at {
            assert!(is_corrupt_at(&loaded, at / BLOCK * BLOCK), "bit {bit} of byte {at}: {loaded:?}");
            overwrite(&path, at, &[sound[at]]);
        } else {
            let loaded = loaded.unwrap();
            assert_eq!(loaded.entries, expected, "bit {bit} of byte {at}");
            assert_eq!(loaded.cut.unwrap().position, (at / BLOCK * BLOCK) as u64, "bit {bit} of byte {at}");
        }
        if at % BLOCK == 0 {
            assert_eq!(std::fs::read(&path).unwrap(), sound, "opening repaired the file, or left it alone");
        }
    }
}

#[test]
fn a_file_truncated_at_any_block_loses_nothing_in_silence() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let path = dir.join(FIRST);
    let payloads: Vec<Vec<u8>> = (0..4_usize).map(|index| vec![index as u8; index * BLOCK / 2]).collect();
    append_all(dir, &payloads.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let sound = std::fs::read(&path).unwrap();
    assert_eq!(sound.len(), STEP);
    for blocks in 0..STEP / BLOCK {
        // Every place of the used blocks, then every seventh of the blank ones.
        if blocks > 12 && blocks % 7 != 0 {
            continue;
        }
        std::fs::write(&path, &sound[..blocks * BLOCK]).unwrap();
        let loaded = load(dir);
        if blocks == 0 {
            assert!(is_corrupt_at(&loaded, 0), "{loaded:?}");
            continue;
        }
        let loaded = loaded.unwrap();
        assert!(payloads.starts_with(&loaded.entries), "{blocks}");
        assert!(loaded.cut.is_some(), "{blocks}");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), STEP as u64);
        assert_eq!(load(dir).unwrap(), LoadedLog { cut: None, ..loaded }, "{blocks}");
    }
}

#[test]
fn a_durable_entry_that_vanished_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let path = dir.join(FIRST);
    append_all(dir, &[b"one", b"two", b"three"]);
    let sound = std::fs::read(&path).unwrap();
    for lost in 1..4 {
        overwrite(&path, lost * BLOCK, &[0; BLOCK]);
        let loaded = load(dir);
        assert!(is_corrupt_at(&loaded, lost * BLOCK), "{loaded:?}");
        std::fs::write(&path, &sound).unwrap();
    }
    // An older entry in the place of a newer one is no entry either.
    overwrite(&path, 3 * BLOCK, &sound[2 * BLOCK..3 * BLOCK]);
    assert!(is_corrupt_at(&load(dir), 3 * BLOCK));
}

#[test]
fn a_lost_seal_is_written_again_and_nothing_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let path = dir.join(FIRST);
    append_all(dir, &[b"one"]);
    let sound = std::fs::read(&path).unwrap();
    overwrite(&path, 2 * BLOCK, &[0; BLOCK]);
    let loaded = load(dir).unwrap();
    assert_eq!((loaded.entries, loaded.cut), (vec![b"one".to_vec()], None));
    assert_eq!(std::fs::read(&path).unwrap(), sound);
}

#[test]
fn an_entry_of_an_unknown_version_is_refused_and_not_cut() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let path = dir.join(FIRST);
    append_all(dir, &[b"one"]);
    overwrite(&path, 2 * BLOCK, &[0; BLOCK]);
    let mut newer = block(&path, 1);
    newer[4] = 2;
    newer[36..40].fill(0);
    let checksum = crc::crc32c(&newer);
    newer[36..40].copy_from_slice(&checksum.to_le_bytes());
    overwrite(&path, BLOCK, &newer);
    let Err(MetadataLogError::Corrupt { detail, .. }) = load(dir) else { panic!("not refused") };
    assert!(detail.contains("version 2"), "{detail}");
}

#[test]
fn a_generation_that_was_not_finished_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    append_all(dir, &[b"one"]);
    std::fs::write(dir.join(UNFINISHED_SECOND), b"anything").unwrap();
    std::fs::write(dir.join("notes.txt"), b"not ours").unwrap();
    assert_eq!(load(dir).unwrap().entries, [b"one"]);
    assert_eq!(file_names(dir), [FIRST, "notes.txt"]);

    // A crash in the very first start leaves the first generation unfinished.
    std::fs::rename(dir.join(FIRST), dir.join("0000000000000001.tmp")).unwrap();
    assert_eq!(load(dir).unwrap().entries, Vec::<Vec<u8>>::new());
    // But a later one without the one before it means that a file was taken away.
    std::fs::rename(dir.join(FIRST), dir.join(UNFINISHED_SECOND)).unwrap();
    assert!(is_corrupt_at(&load(dir), 0));
}

#[test]
fn of_two_generations_the_newest_sound_one_counts() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    append_all(dir, &[b"one"]);
    let first = std::fs::read(dir.join(FIRST)).unwrap();
    with_log(dir, async |log, _| log.compact(b"state of one").await.unwrap()).unwrap();
    let second = std::fs::read(dir.join(SECOND)).unwrap();

    // A crash before the old one was deleted.
    std::fs::write(dir.join(FIRST), &first).unwrap();
    let loaded = load(dir).unwrap();
    assert_eq!((loaded.snapshot.as_deref(), loaded.discarded), (Some(&b"state of one"[..]), None));
    assert_eq!(file_names(dir), [SECOND]);

    // The same, and the new one damaged: nothing was appended to it yet, so the old one has everything.
    std::fs::write(dir.join(FIRST), &first).unwrap();
    overwrite(&dir.join(SECOND), 100, &[0xff]);
    let loaded = load(dir).unwrap();
    assert_eq!((loaded.snapshot, loaded.entries), (None, vec![b"one".to_vec()]));
    assert_eq!(loaded.discarded.unwrap().path, dir.join(SECOND));
    assert_eq!(file_names(dir), [FIRST]);

    // Damaged after something was appended to it: refused, whatever else is there.
    std::fs::remove_file(dir.join(FIRST)).unwrap();
    std::fs::write(dir.join(SECOND), &second).unwrap();
    append_all(dir, &[b"two"]);
    overwrite(&dir.join(SECOND), 100, &[0xff]);
    assert!(is_corrupt_at(&load(dir), 0));
    std::fs::write(dir.join(FIRST), &first).unwrap();
    assert!(is_corrupt_at(&load(dir), 0));
    assert_eq!(file_names(dir), [FIRST, SECOND]);
}

#[test]
fn appends_overwrite_zeros_that_were_written_before() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    append_all(dir, &[b"one"]);
    let bytes = std::fs::read(dir.join(FIRST)).unwrap();
    assert_eq!(bytes.len(), STEP);
    assert_eq!(parse_metadata_entry(&bytes[2 * BLOCK..]).unwrap().header.kind, MetadataKind::Seal);
    assert!(bytes[3 * BLOCK..].iter().all(|byte| *byte == 0));
    // Half a step is ready behind the tail at all times.
    append_all(dir, &[&vec![1; STEP / 2]]);
    assert_eq!(std::fs::metadata(dir.join(FIRST)).unwrap().len(), 2 * STEP as u64);
}

#[test]
fn what_exceeds_a_limit_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let refused = with_log(dir, async |log, _| {
        let large = vec![0; METADATA_PAYLOAD_BYTES_MAX + 1];
        assert!(matches!(log.append(&large).await, Err(MetadataLogError::TooLarge { .. })));
        assert!(matches!(log.compact(&large).await, Err(MetadataLogError::TooLarge { .. })));
        let half = &large[..METADATA_PAYLOAD_BYTES_MAX / 2];
        assert!(matches!(log.append_batch(&[half, half, half]).await, Err(MetadataLogError::TooLarge { .. })));
        let tail = std::mem::replace(&mut log.tail, METADATA_GENERATION_BYTES_MAX - BLOCK as u64);
        assert!(matches!(log.append(b"one").await, Err(MetadataLogError::Full { .. })));
        log.tail = tail;
        assert_eq!(log.append(b"one").await.unwrap(), 1);
    });
    refused.unwrap();
    assert_eq!(load(dir).unwrap().entries, [b"one"]);
}

#[test]
fn an_append_that_was_dropped_half_way_poisons_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let dropped = with_log(dir, async |log, _| {
        {
            let mut append = pin!(log.append(b"one"));
            let first = std::future::poll_fn(|ctx| Poll::Ready(append.as_mut().poll(ctx).is_pending())).await;
            assert!(first, "an append waits for the disk");
        }
        assert!(matches!(log.append(b"two").await, Err(MetadataLogError::Poisoned { .. })));
        assert!(matches!(log.compact(b"state").await, Err(MetadataLogError::Poisoned { .. })));
    });
    dropped.unwrap();
}
