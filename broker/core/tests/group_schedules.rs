//! Random schedules of one classic group: clients join, sync, beat, commit, leave, crash and come back, time passes, and
//! the coordinator restarts with what was durable. Whatever happens, each waiter is answered once, nobody shares a
//! partition within a generation, nothing that was acknowledged goes back, and when the faults end everybody is in. A
//! failure prints its seed; `OUZEL_SEED` replays it.

mod support;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use support::seeds::{SeedOnPanic, seeds};
use support::shard::{Commanded, Shard};

const SCHEDULES: u64 = 3_000;
const EVENTS: usize = 250;
/// Steps of a second in which everybody must be in, once the faults have ended: a wait for the dead, for the initial
/// delay, for those that do not sync, and some.
const CALM_STEPS: usize = 240;

fn random_event(rng: &mut SmallRng, shard: &mut Shard) {
    let slot = rng.random_range(0..shard.client_count());
    match rng.random_range(0..100) {
        0..50 => shard.act(slot, rng.random_range(0..4) == 0),
        50..65 => shard.flush(rng.random_range(1..4)),
        65..80 => shard.pass(rng.random_range(1..3_000)),
        80..83 => shard.pass(rng.random_range(3_000..40_000)),
        83..88 => shard.crash(slot),
        88..91 => shard.leave(slot),
        91..94 => shard.change(slot, rng.random_range(0..3)),
        94..97 => shard.act_as_ghost(rng.random_range(0..100)),
        _ => shard.restart(rng.random_range(0..4)),
    }
}

#[test]
fn any_schedule_keeps_its_promises_and_comes_to_rest() {
    let mut done = Commanded::default();
    for seed in seeds(SCHEDULES) {
        let _seed = SeedOnPanic(seed);
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut shard = Shard::new(&mut rng);
        for _ in 0..EVENTS {
            random_event(&mut rng, &mut shard);
            shard.check();
        }
        shard.calm(CALM_STEPS);
        done.add(&shard.done);
    }
    if std::env::var("OUZEL_SEED").is_err() {
        assert!(done.is_varied(), "the schedules do something: {done:?}");
    }
}

#[test]
fn a_restarted_static_member_finds_its_place() {
    for seed in seeds(SCHEDULES).into_iter().take(500) {
        let _seed = SeedOnPanic(seed);
        let mut rng = SmallRng::seed_from_u64(seed ^ 0x5747);
        let mut shard = Shard::new(&mut rng);
        shard.calm(CALM_STEPS);
        for _ in 0..10 {
            let slot = rng.random_range(0..shard.client_count());
            if shard.is_static(slot) {
                let generation = shard.generation();
                shard.crash(slot);
                shard.pass(rng.random_range(0..2_000));
                if rng.random_bool(0.3) {
                    shard.flush(usize::MAX);
                    shard.restart(0);
                }
                shard.act(slot, false);
                shard.flush(usize::MAX);
                assert_eq!((shard.generation(), shard.state()), (generation, "Stable"), "nobody else notices");
            }
            shard.calm(CALM_STEPS);
        }
    }
}
