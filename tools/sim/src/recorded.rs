//! A recorded run: a node with a history on its disk, and the life that follows, from one seed. The life can be played
//! again and again from the same disk, each time with one thing going wrong at another place. Owns the recording; what
//! goes wrong is decided by `steps.rs` and `io_errors.rs`.

use std::rc::Rc;

use ouzel_runtime::sim::SimDisk;
use ouzel_storage::StoreConfig;
use ouzel_storage::producers::ProducerLimits;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::node::World;
use crate::plan::{End, LifePlan, RoundPlan};
use crate::round::{RoundReport, live};

const KIB: usize = 1024;
/// Later than any event of a life.
const NEVER: u64 = 1 << 40;

/// What was recorded; see [`Recorded::fork`].
pub(crate) struct Recorded {
    world: Rc<World>,
    disk: SimDisk,
    /// The life to be played from here.
    pub(crate) life: LifePlan,
    rng: SmallRng,
}

/// One copy of a recorded run, free to go its own way.
pub(crate) struct Fork {
    pub(crate) world: Rc<World>,
    pub(crate) disk: SimDisk,
    pub(crate) rng: SmallRng,
    pub(crate) report: RoundReport,
}

impl Recorded {
    /// Plays a first life that ends in the middle, with everything in it that a journal may hold, and stops there.
    ///
    /// # Errors
    /// A promise broken although nothing went wrong.
    pub(crate) fn record(seed: u64) -> Result<Recorded, String> {
        let mut rng = SmallRng::seed_from_u64(seed ^ 0x7ec0_4ded);
        let disk = SimDisk::new(rng.random());
        let world = Rc::new(World::new(plan(), false, SmallRng::seed_from_u64(rng.random())));
        let shards = rng.random_range(1..=2);
        let first = life(rng.random(), shards, 150, 6);
        let mut report = RoundReport::default();
        live(&world, &disk, first, &mut report);
        if let Some(what) = world.ledger.borrow().violation() {
            return Err(format!("{what} [while recording]"));
        }
        let life = life(rng.random(), shards, 110, 8);
        Ok(Recorded { world, disk, life, rng })
    }

    /// A copy of the world and its disk; `step` varies what is drawn from now on.
    pub(crate) fn fork(&self, step: u64) -> Fork {
        let mut rng = self.rng.clone();
        let mixed = rng.random::<u64>() ^ step.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let disk = self.disk.snapshot();
        disk.reseed(mixed);
        Fork {
            world: Rc::new(self.world.fork()),
            disk,
            rng: SmallRng::seed_from_u64(mixed),
            report: RoundReport::default(),
        }
    }
}

impl Fork {
    /// Plays one more life on this fork.
    ///
    /// # Errors
    /// The first promise found broken.
    pub(crate) fn live(&mut self, life: LifePlan) -> Result<(), String> {
        live(&self.world, &self.disk, life, &mut self.report);
        self.verdict()
    }

    /// Reads everything back twice, with a little appended in between and an orderly stop.
    ///
    /// # Errors
    /// The first promise found broken.
    pub(crate) fn settle(&mut self) -> Result<(), String> {
        for _ in 0..2 {
            let life = LifePlan::last(self.rng.random(), self.rng.random_range(1..=3));
            self.live(life)?;
        }
        Ok(())
    }

    /// Fills the report.
    pub(crate) fn finish(&mut self) {
        self.report.finish(&self.world, &self.disk);
    }

    /// The first promise found broken so far.
    pub(crate) fn verdict(&self) -> Result<(), String> {
        match self.world.ledger.borrow().violation() {
            Some(what) => Err(format!("{what} [{:?}]", self.world.phase.get())),
            None => Ok(()),
        }
    }
}

/// A life whose process is killed when its load is over.
fn life(seed: u64, shards: u16, batches: u32, changes: u32) -> LifePlan {
    LifePlan {
        seed,
        shards,
        end: End::Kill(NEVER),
        batches,
        producers: 3,
        readers: 1,
        changes,
        in_flight: 4,
        pause_us_max: 300,
    }
}

/// Limits so small that a hundred batches roll segments, bring the journal round and evict what was open.
fn plan() -> RoundPlan {
    let store = StoreConfig {
        journal_bytes_max: 256 * KIB as u64,
        journal_file_bytes: 64 * KIB as u64,
        commit_bytes_max: 8 * KIB,
        dirty_bytes_max: 128 * KIB,
        cache_bytes_max: 160 * KIB,
        segments_open_max: 2,
        syncs_apart_max: 1,
        seal_after_ms: 20,
        producers_max: 1024,
        producers: ProducerLimits::default(),
    };
    store.assert_sane();
    RoundPlan {
        store,
        segment_bytes: 32 * KIB as u64,
        topics: 3,
        batch_bytes_typical: 4 * KIB,
        large_of_64: 1,
        written_of_8: 3,
        lives: Vec::new(),
    }
}
