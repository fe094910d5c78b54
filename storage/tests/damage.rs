//! Damage, exhaustively: every single flipped bit of every file of a small data directory, and every sector-wise torn tail
//! of the last commit. Owns the rule of what may come of it: a wrong byte is never served, and nothing acknowledged is ever
//! missing in silence. Runs on copies of one simulated disk, on every core there is.
//!
//! | What is damaged | What may come of it |
//! |---|---|
//! | a commit that a later one vouches for | refusal, naming file and byte |
//! | the last commit, which nothing vouches for | a cut tail, reported with partitions and offsets (rule J4) |
//! | a checkpoint slot | nothing, if the other one does; else refusal |
//! | the side file or the bytes of a segment | reads of what it covers are refused, naming file and byte |
//! | an index | nothing: it is built again |
//! | blank space, and what lies behind the valid bytes of a file | nothing; in a journal that never came round, a report |
//!
//! The metadata log and the mark of a clean stop have tests of their own beside their code.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use ouzel_protocol::batch::{batches, parse_header};
use ouzel_protocol::producer::restamp;
use ouzel_protocol::records::{BatchBuilder, Dialect};
use ouzel_protocol::{
    Codec, Durability, Incarnation, LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, ProducerStamp,
    Sequence, ShardIndex,
};
use ouzel_runtime::Shard;
use ouzel_runtime::sim::{SimDisk, SimOutcome, run_sim};
use ouzel_storage::format::commit::parse_commit;
use ouzel_storage::{
    AssignedIds, CommittedStart, CutReport, PartitionConfig, ProducerLimits, Recovered, StorageError, Store,
    StoreConfig, recover,
};

const BLOCK: usize = 4096;
const SECTOR: usize = 512;
const DATA: &str = "/data";
const JOURNAL: &str = "/data/journals/0000000000000001-0000";
/// Partitions by what happens to them: appends alone, appends alone, a truncation, a moved log start.
const LIVE: u64 = 4;
/// Subsets of a commit of more than ten sectors that are drawn at random.
const SUBSETS_DRAWN: u64 = 500;

/// Nearly as small as the engine allows: a journal of at most twelve files of four blocks.
fn config() -> StoreConfig {
    StoreConfig {
        journal_bytes_max: 192 * 1024,
        journal_file_bytes: 16 * 1024,
        commit_bytes_max: 2 * BLOCK,
        dirty_bytes_max: 64 * 1024,
        cache_bytes_max: 96 * 1024,
        segments_open_max: 8,
        syncs_apart_max: 32,
        // Never within a scene: the last commit stays without a later one that vouches for it.
        seal_after_ms: 1_000_000,
        producers_max: 64,
        producers: ProducerLimits::default(),
    }
}

fn partition_config() -> PartitionConfig {
    PartitionConfig {
        durability: Durability::Disk,
        flush_interval_ms: 5,
        segment_bytes: 2 * BLOCK as u64,
        batch_bytes_max: 8 * 1024,
    }
}

fn live() -> BTreeMap<PartitionId, PartitionConfig> {
    (0..LIVE).map(|id| (PartitionId(id), partition_config())).collect()
}

/// Which history a scene has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum History {
    /// The journal has not come round.
    Short,
    /// The last commit overwrites an older one.
    Wrapped,
}

/// A data directory after a crash, and what it holds.
struct Scene {
    /// Just before the last commit was written.
    before: SimDisk,
    /// As it was found.
    disk: SimDisk,
    /// Where the last commit stands.
    last: (PathBuf, Range<usize>),
    /// Partitions and offsets of the last commit.
    last_offsets: Vec<(PartitionId, Offset, Offset)>,
}

/// What a reader finds in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    log_start: Offset,
    end: Offset,
    producers: Vec<u8>,
    /// Stored bytes, as far as they could be read.
    bytes: Vec<u8>,
}

/// What a start on a disk came to.
struct Outcome {
    partitions: BTreeMap<PartitionId, Found>,
    cut: Vec<CutReport>,
    /// Reads that were refused.
    refused: Vec<StorageError>,
}

fn batch(producer: u64, sequence: u32, bytes: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Dialect::Kafka2, Codec::None, None);
    let value: Vec<u8> = (0..bytes).map(|at| (at as u64 * 31 + producer * 7 + u64::from(sequence)) as u8 | 1).collect();
    for _ in 0..2 {
        builder.push(1_000 + i64::from(sequence), None, Some(&value[..bytes / 2]), &[]);
    }
    let mut batch = builder.build().expect("a small batch");
    let stamp = ProducerStamp {
        id: ProducerId(producer),
        epoch: ProducerEpoch(0),
        base_sequence: Sequence::ZERO.after(2 * sequence),
    };
    restamp(&mut batch, stamp);
    batch
}

/// Appends to a store, with sequences of its own for each partition.
struct Appender {
    store: Store,
    sequences: BTreeMap<PartitionId, u32>,
}

impl Appender {
    /// Queues one batch. Batches queued without a wait between them share a commit.
    async fn append(&mut self, id: u64, bytes: usize) -> (PartitionId, Offset, Offset, ouzel_storage::Ack) {
        let id = PartitionId(id);
        let sequence = self.sequences.entry(id).or_default();
        let batch = batch(id.0, *sequence, bytes);
        *sequence += 1;
        let reservation = self.store.reserve(batch.len()).await.expect("room");
        let header = parse_header(&batch).expect("own batch");
        let appended = self.store.append(reservation, id, LeaderEpoch(1), &header, &batch).expect("appended");
        (id, appended.base_offset, appended.last_offset.next(), appended.ack)
    }

    /// Appends by one commit.
    async fn append_all(&mut self, batches: &[(u64, usize)]) -> Vec<(PartitionId, Offset, Offset)> {
        let (mut placed, mut acks) = (Vec::new(), Vec::new());
        for (id, bytes) in batches {
            let (id, base, end, ack) = self.append(*id, *bytes).await;
            placed.push((id, base, end));
            acks.push(ack);
        }
        for ack in acks {
            ack.await.expect("durable");
        }
        placed
    }
}

/// Plays a history on a fresh disk. Each call gives the same bytes.
fn scene(history: History, last_batches: &[(u64, usize)]) -> Scene {
    let disk = SimDisk::new(1);
    let run_disk = disk.clone();
    let outcome = run_sim(1, disk.clone(), |shard| async move {
        let (incarnation, index) = (Incarnation(1), ShardIndex(0));
        let store = Store::create(&shard, Path::new(DATA), index, incarnation, 0x5eed_1234_5678, config(), Vec::new());
        let store = store.await.expect("created");
        store.begin();
        for id in 0..=LIVE {
            store.open_partition(PartitionId(id), partition_config());
        }
        let mut appender = Appender { store: store.clone(), sequences: BTreeMap::new() };
        let mut rounds = 0;
        while rounds == 0 || (history == History::Wrapped && store.stats().wraps < 2) {
            let ids = if rounds == 0 { 0..LIVE + 1 } else { 0..LIVE };
            appender.append_all(&ids.map(|id| (id, 500)).collect::<Vec<_>>()).await;
            if rounds == 0 {
                store.drop_partition(PartitionId(LIVE)).await.expect("dropped");
                appender.append_all(&[(2, 3_900), (2, 500), (3, 500)]).await;
                let end = store.end_offset(PartitionId(2)).expect("open");
                store.truncate(PartitionId(2), Offset(end.0 - 1)).await.expect("truncated");
                appender.sequences.insert(PartitionId(2), 2);
                store.advance_log_start(PartitionId(3), Offset(1)).await.expect("moved");
            }
            rounds += 1;
        }
        shard.sleep(std::time::Duration::from_millis(100)).await;
        let before = run_disk.snapshot();
        let last = appender.append_all(last_batches).await;
        (before, run_disk.snapshot(), last)
    });
    let SimOutcome::Done((before, disk, last_offsets)) = outcome else { panic!("the run ends") };
    let last = last_commit(&before, &disk);
    Scene { before, disk, last, last_offsets }
}

/// The one commit that differs between two disks.
fn last_commit(before: &SimDisk, after: &SimDisk) -> (PathBuf, Range<usize>) {
    let mut found = None;
    for path in files(after).into_iter().filter(|path| path.extension().is_some_and(|kind| kind == "journal")) {
        let (old, new) = (before.read_file(&path).unwrap_or_default(), after.read_file(&path).expect("there"));
        let Some(block) = new.chunks(BLOCK).zip(old.chunks(BLOCK)).position(|(new, old)| new != old) else { continue };
        let commit = parse_commit(&new[block * BLOCK..]).expect("whole");
        assert!(found.is_none(), "one commit is the last");
        found = Some((path, block * BLOCK..block * BLOCK + commit.padded_bytes()));
    }
    found.expect("a commit was written")
}

/// Every file of the data directory but the reserve, which is space and says nothing.
fn files(disk: &SimDisk) -> Vec<PathBuf> {
    fn walk(disk: &SimDisk, directory: &Path, found: &mut Vec<PathBuf>) {
        for name in disk.read_dir(directory).expect("a directory") {
            let path = directory.join(name);
            if path.ends_with("reserve") {
                continue;
            }
            if disk.read_file(&path).is_ok() { found.push(path) } else { walk(disk, &path, found) }
        }
    }
    let mut found = Vec::new();
    walk(disk, Path::new(DATA), &mut found);
    found
}

async fn recovered(shard: &Shard) -> Result<Recovered, StorageError> {
    let committed = CommittedStart { incarnation: Incarnation(1), shards: 1 };
    let assigned = AssignedIds { next: PartitionId(LIVE + 1) };
    recover(shard, Path::new(DATA), &config(), Some(committed), &live(), assigned).await
}

/// Starts on the disk and reads everything.
async fn start(shard: &Shard) -> Result<Outcome, StorageError> {
    let (store, cut) = open(shard).await?;
    Ok(Outcome { cut, ..read_all(&store).await? })
}

async fn open(shard: &Shard) -> Result<(Store, Vec<CutReport>), StorageError> {
    let recovered = recovered(shard).await?;
    let partitions = recovered.partitions.into_values().map(|found| (found, partition_config())).collect();
    let store = Store::create(shard, Path::new(DATA), ShardIndex(0), Incarnation(2), 2, config(), partitions).await?;
    store.begin();
    Ok((store, recovered.report.cut))
}

async fn read_all(store: &Store) -> Result<Outcome, StorageError> {
    let mut outcome = Outcome { partitions: BTreeMap::new(), cut: Vec::new(), refused: Vec::new() };
    for id in live().into_keys() {
        let (log_start, end) = (store.log_start(id)?, store.durable_end(id)?);
        let mut producers = store.producers(id)?;
        producers.producers.iter_mut().for_each(|(_, producer)| producer.last_used_ms = 0);
        let mut bytes = Vec::new();
        let mut from = log_start;
        while from < end {
            // A batch at a time, so that what is refused is no more than what is damaged.
            match store.read(store.plan_read(id, from, 1, true)?).await {
                Ok(parts) => {
                    let part: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
                    let next = batches(&part).flatten().last().expect("a batch").0.end_offset();
                    assert!(next > from, "a read goes on");
                    from = next;
                    bytes.extend(part);
                }
                Err(error) => {
                    outcome.refused.push(error);
                    from = from.next();
                }
            }
        }
        outcome.partitions.insert(id, Found { log_start, end, producers: producers.encode(), bytes });
    }
    Ok(outcome)
}

fn run<T>(disk: &SimDisk, main: impl AsyncFnOnce(&Shard) -> T) -> T {
    match run_sim(7, disk.clone(), |shard| async move { main(&shard).await }) {
        SimOutcome::Done(value) => value,
        _ => panic!("the run ends"),
    }
}

/// What a start must come to on the disks of a scene.
struct Expected {
    with_last: (Recovered, Outcome),
    without_last: (Recovered, Outcome),
}

impl Expected {
    fn of(scene: &Scene) -> Expected {
        let undamaged = |disk: &SimDisk| {
            let found = run(&disk.snapshot(), async |shard| recovered(shard).await).expect("sound");
            let outcome = run(&disk.snapshot(), async |shard| start(shard).await).expect("sound");
            assert!(outcome.cut.is_empty() && outcome.refused.is_empty());
            (found, outcome)
        };
        let expected = Expected { with_last: undamaged(&scene.disk), without_last: undamaged(&scene.before) };
        for (id, base, end) in &scene.last_offsets {
            assert_eq!(expected.with_last.1.partitions[id].end, *end);
            assert!(expected.without_last.1.partitions[id].end <= *base);
        }
        expected
    }
}

/// Every batch that `part` holds stands in `whole` as well, byte for byte.
fn is_part_of(part: &[u8], whole: &[u8]) -> bool {
    let whole: Vec<&[u8]> = batches(whole).map(|batch| batch.expect("whole").1).collect();
    batches(part).all(|batch| batch.is_ok_and(|(_, bytes)| whole.contains(&bytes)))
}

/// Judges a start on a disk of which `path` is damaged at `at`, by the table above.
fn judge(scene: &Scene, expected: &Expected, path: &Path, at: usize, found: Result<Outcome, StorageError>) -> Kind {
    let what = || format!("byte {at} of {}", path.display());
    let kind = path.extension().unwrap_or_default().to_string_lossy().into_owned();
    let is_last = scene.last.0 == path && scene.last.1.contains(&at);
    match found {
        Err(StorageError::Corrupt { path: named, detail, .. }) => {
            let names_it = named == path || path.starts_with(&named) || detail.contains(&*path.to_string_lossy());
            assert!(names_it, "{}: blames {}: {detail}", what(), named.display());
            assert!(!is_last, "{}: the last commit is cut, not refused: {detail}", what());
            Kind::Refused
        }
        Err(error) => panic!("{}: {error}", what()),
        Ok(outcome) if outcome.partitions == expected.with_last.1.partitions => {
            assert!(!is_last && outcome.refused.is_empty(), "{}", what());
            if outcome.cut.is_empty() { Kind::Nothing } else { Kind::Reported }
        }
        Ok(outcome) if outcome.partitions == expected.without_last.1.partitions => {
            assert!(is_last && outcome.cut.len() == 1, "{}: {:?}", what(), outcome.cut);
            assert!(outcome.refused.is_empty(), "{}: {:?}", what(), outcome.refused);
            Kind::Cut
        }
        Ok(outcome) => {
            assert!(kind == "segment" || kind == "check", "{}: {:?}", what(), outcome.cut);
            assert!(!outcome.refused.is_empty(), "{}: other bytes, and no read was refused", what());
            for error in &outcome.refused {
                let named = matches!(error, StorageError::Corrupt { path: named, .. } if named == path);
                assert!(named, "{}: {error}", what());
            }
            for (id, found) in &outcome.partitions {
                let sound = &expected.with_last.1.partitions[id];
                assert!((found.log_start, found.end) == (sound.log_start, sound.end), "{}", what());
                assert!(is_part_of(&found.bytes, &sound.bytes), "{}: wrong bytes of partition {id}", what());
            }
            Kind::Unreadable
        }
    }
}

/// What came of one damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Nothing,
    Reported,
    Cut,
    Unreadable,
    Refused,
}

type Tally = BTreeMap<(String, Kind), u64>;

/// Which bits of a file are flipped: all of them, but of a blank unit only one in each byte where a header would stand, and
/// one in each 64 bytes behind. Units are blocks, and sectors in the files of slots.
fn flips(path: &Path, bytes: &[u8]) -> Vec<(usize, u8)> {
    let unit = if path.extension().is_some_and(|kind| kind == "check" || kind == "index") { SECTOR } else { BLOCK };
    let mut flips = Vec::new();
    for (index, bytes) in bytes.chunks(unit).enumerate() {
        let is_blank = bytes.iter().all(|byte| *byte == 0);
        for at in (0..bytes.len()).filter(|at| !is_blank || *at < 72 || at % 64 == 0) {
            let bits = if is_blank { at % 8..at % 8 + 1 } else { 0..8 };
            flips.extend(bits.map(|bit| (index * unit + at, 1 << bit)));
        }
    }
    flips
}

/// Runs `work` on every core: each gets its number and their count.
fn on_every_core(work: impl Fn(usize, usize) -> Tally + Sync) -> Tally {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut all = Tally::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores)
            .map(|core| {
                scope.spawn({
                    let work = &work;
                    move || work(core, cores)
                })
            })
            .collect();
        for thread in threads {
            let tally = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            for (key, count) in tally {
                *all.entry(key).or_default() += count;
            }
        }
    });
    all
}

/// Flips the bits that are this core's, every `stride`th of them, in files below `under`.
fn flip_bits(history: History, under: &str, core: usize, cores: usize, stride: usize) -> Tally {
    let scene = scene(history, &[(0, 1_000), (1, 700)]);
    let expected = Expected::of(&scene);
    let mut tally = Tally::new();
    for path in files(&scene.disk).into_iter().filter(|path| path.starts_with(under)) {
        let bytes = scene.disk.read_file(&path).expect("a file");
        let name = path.extension().unwrap_or(path.file_name().unwrap_or_default()).to_string_lossy().into_owned();
        let in_journal = path.starts_with(JOURNAL);
        let flips: Vec<_> = flips(&path, &bytes).into_iter().step_by(stride).skip(core).step_by(cores).collect();
        if name == "segment" {
            flip_under_a_reader(&scene, &expected, &path, &flips, &mut tally);
            continue;
        }
        for (at, mask) in flips {
            let disk = scene.disk.snapshot();
            disk.corrupt(&path, at as u64, mask).expect("inside the file");
            // What recovery finds decides what a start serves: as long as it finds the same, nothing else can differ.
            let kind = match in_journal.then(|| run(&disk, async |shard| recovered(shard).await)) {
                Some(Ok(found)) if found.partitions == expected.with_last.0.partitions => {
                    let is_last = scene.last.0 == path && scene.last.1.contains(&at);
                    assert!(!is_last, "byte {at} of {}: damage that nobody noticed", path.display());
                    if found.report.cut.is_empty() { Kind::Nothing } else { Kind::Reported }
                }
                Some(Ok(found)) if found.partitions == expected.without_last.0.partitions => {
                    check_report(&scene, &path, at, &found.report.cut);
                    Kind::Cut
                }
                Some(Err(error)) => judge(&scene, &expected, &path, at, Err(error)),
                _ => judge(&scene, &expected, &path, at, run(&disk, async |shard| start(shard).await)),
            };
            *tally.entry((name.clone(), kind)).or_default() += 1;
        }
    }
    tally
}

/// The bytes of a segment are looked at by reads alone: one start is enough for all of them.
fn flip_under_a_reader(scene: &Scene, expected: &Expected, path: &Path, flips: &[(usize, u8)], tally: &mut Tally) {
    let disk = scene.disk.snapshot();
    run(&disk, async |shard| {
        let (store, _) = open(shard).await.expect("sound");
        for (at, mask) in flips {
            disk.corrupt(path, *at as u64, *mask).expect("inside the file");
            let kind = judge(scene, expected, path, *at, read_all(&store).await);
            disk.corrupt(path, *at as u64, *mask).expect("inside the file");
            *tally.entry(("segment".to_owned(), kind)).or_default() += 1;
        }
    });
}

/// A cut of the last commit is reported where it is; with its partitions and offsets, unless the flipped bit is one of
/// those that say them.
fn check_report(scene: &Scene, path: &Path, at: usize, cut: &[CutReport]) {
    let [report] = cut else { panic!("byte {at} of {}: cut without a report", path.display()) };
    assert!(scene.last.0 == path && scene.last.1.contains(&at), "byte {at} of {}: {report:?}", path.display());
    assert_eq!((&*report.path, report.position), (path, scene.last.1.start as u64));
    let bytes = scene.disk.read_file(path).expect("a file");
    let commit = parse_commit(&bytes[scene.last.1.clone()]).expect("whole");
    let in_payload = commit.entries().flatten().any(|(_, payload)| {
        let start = payload.as_ptr().addr() - bytes.as_ptr().addr();
        (start..start + payload.len()).contains(&at)
    });
    for (id, base, end) in scene.last_offsets.iter().filter(|_| in_payload) {
        let named = format!("partition {id} offsets {base}..{end}");
        assert!(report.detail.contains(&named), "byte {at}: {}", report.detail);
    }
}

#[test]
fn every_flipped_bit_is_refused_reported_or_without_effect() {
    let tally = on_every_core(|core, cores| flip_bits(History::Short, DATA, core, cores, 1));
    println!("{tally:?}");
    let of = |name: &str, kind| tally.get(&(name.to_owned(), kind)).copied().unwrap_or(0);
    let block_bits = 8 * BLOCK as u64;
    assert!(of("journal", Kind::Refused) > block_bits && of("journal", Kind::Cut) == block_bits);
    assert!(of("segment", Kind::Unreadable) >= block_bits && of("check", Kind::Unreadable) > 0);
    assert_eq!(of("journal", Kind::Nothing), 0, "whatever is in a journal that never came round is told");
    assert_eq!(
        of("index", Kind::Nothing),
        tally.iter().filter(|(key, _)| key.0 == "index").map(|(_, n)| n).sum::<u64>()
    );
}

#[test]
fn flipped_bits_of_a_journal_that_came_round_are_found_as_well() {
    let tally = on_every_core(|core, cores| flip_bits(History::Wrapped, JOURNAL, core, cores, 61));
    println!("{tally:?}");
    let of = |name: &str, kind| tally.get(&(name.to_owned(), kind)).copied().unwrap_or(0);
    assert!(of("journal", Kind::Refused) > 0 && of("journal", Kind::Cut) > 0);
}

/// Which of `count` sectors arrived: all subsets of a few; of many, those that hardware makes likely and some by seed.
fn subsets(count: usize) -> Vec<Vec<bool>> {
    if count <= 10 {
        return (0..1usize << count).map(|mask| (0..count).map(|at| mask >> at & 1 == 1).collect()).collect();
    }
    let mut subsets = Vec::new();
    for cut in 0..=count {
        subsets.push((0..count).map(|at| at < cut).collect());
        subsets.push((0..count).map(|at| at >= cut).collect());
        subsets.push((0..count).map(|at| at != cut).collect());
    }
    subsets.extend((1..=SUBSETS_DRAWN).map(|seed| {
        let bits = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        (0..count).map(|at| bits >> (at % 44) & 1 == 1).collect()
    }));
    subsets
}

/// Tears the last commit in every way; what did not arrive is what was there before, or zeros.
fn tear(history: History, last_batches: &[(u64, usize)], blocks: usize) -> (u64, u64) {
    let scene = scene(history, last_batches);
    let expected = Expected::of(&scene);
    let (path, range) = &scene.last;
    assert_eq!(range.len(), blocks * BLOCK);
    let new = &scene.disk.read_file(path).expect("there")[range.clone()];
    let old = &scene.before.read_file(path).expect("there")[range.clone()];
    assert_eq!(old.iter().any(|byte| *byte != 0), history == History::Wrapped, "what the commit overwrote");
    let (mut cut, mut whole) = (0, 0);
    for arrived in subsets(range.len() / SECTOR) {
        for zeros in [false, true] {
            let disk = scene.disk.snapshot();
            let mut torn = new.to_vec();
            for (at, byte) in torn.iter_mut().enumerate().filter(|(at, _)| !arrived[at / SECTOR]) {
                *byte = if zeros { 0 } else { old[at] };
                if *byte != new[at] {
                    disk.corrupt(path, (range.start + at) as u64, *byte ^ new[at]).expect("inside the file");
                }
            }
            let found = run(&disk, async |shard| recovered(shard).await).expect("a torn tail is no damage");
            if torn == new {
                assert!(found.partitions == expected.with_last.0.partitions && found.report.cut.is_empty());
                whole += 1;
                continue;
            }
            assert!(found.partitions == expected.without_last.0.partitions, "{arrived:?}, {zeros}");
            // Without its first sector nothing tells a commit from what else may stand in a journal that came round.
            let is_told = arrived[0] || (history == History::Short && torn.iter().any(|byte| *byte != 0));
            assert_eq!(found.report.cut.len(), usize::from(is_told), "{arrived:?}, {zeros}: {:?}", found.report.cut);
            cut += 1;
        }
    }
    (cut, whole)
}

#[test]
fn every_sector_wise_torn_tail_is_cut_and_reported() {
    for history in [History::Short, History::Wrapped] {
        let (cut, whole) = tear(history, &[(0, 1_000), (1, 700)], 1);
        assert!(cut > 200 && whole > 0, "{history:?}: {cut} cut, {whole} whole");
        let (cut, whole) = tear(history, &[(0, 2_500), (1, 2_500), (3, 500)], 2);
        assert!(cut > SUBSETS_DRAWN && whole > 0, "{history:?}: {cut} cut, {whole} whole");
    }
}

#[test]
fn a_commit_of_another_version_is_refused_and_never_cut() {
    let scene = scene(History::Short, &[(0, 1_000)]);
    let (path, range) = &scene.last;
    let mut commit = scene.disk.read_file(path).expect("there")[range.clone()].to_vec();
    commit[4] = 2;
    commit[44..48].fill(0);
    let checksum = ouzel_protocol::crc::crc32c(&commit).to_le_bytes();
    commit[44..48].copy_from_slice(&checksum);
    let disk = scene.disk.snapshot();
    let old = disk.read_file(path).expect("there");
    for (at, byte) in commit.iter().enumerate() {
        disk.corrupt(path, (range.start + at) as u64, old[range.start + at] ^ byte).expect("inside the file");
    }
    match run(&disk, async |shard| recovered(shard).await) {
        Err(StorageError::Corrupt { path: named, position, detail, .. }) => {
            assert_eq!((&named, position as usize), (path, range.start));
            assert!(detail.contains("version 2"), "{detail}");
        }
        other => panic!("{other:?}"),
    }
}
