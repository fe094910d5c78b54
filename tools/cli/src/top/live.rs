//! The live view: keys, samples and signals in, a screen out. Owns the loop and the two that feed it, a task that asks the broker
//! and a thread that reads keys; neither ever waits for the other. Runs on the CLI's main thread and its tokio runtime.

use std::io;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use super::keys::{Outcome, press};
use super::sample::{Connections, Sample};
use super::sampler::Sampler;
use super::tables::Tab;
use super::terminal::Screen;
use super::view::View;
use crate::connect::block_on;

/// Keys and samples that wait for the screen; more wait where they come from.
const WAITING_COUNT_MAX: usize = 16;

/// What the broker said.
enum Update {
    Sample(Box<Result<Sample>>),
    Connections(Result<Connections>),
}

/// Shows the broker until somebody quits.
///
/// # Errors
/// The terminal cannot be used. A broker that is away is no error.
pub(super) fn run(address: &str, interval: Duration) -> Result<()> {
    let mut screen = Screen::enter()?;
    block_on(follow(&mut screen, View::new(address), interval))
}

async fn follow(screen: &mut Screen, mut view: View, interval: Duration) -> Result<()> {
    let (mut interrupt, mut terminate, mut hang_up) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    let (wants_connections, wanted) = watch::channel(false);
    let mut updates = ask(Sampler::new(&view.address), interval, wanted);
    let mut keys = read_keys()?;
    loop {
        screen.show(&mut view)?;
        tokio::select! {
            key = keys.recv() => match key.context("nobody reads the keys any more")?.context("cannot read keys")? {
                Event::Key(key) if key.kind != KeyEventKind::Release => {
                    if press(&mut view, key) == Outcome::Quit {
                        return Ok(());
                    }
                    wants_connections.send_if_modified(|wants| {
                        let wanted = view.tab == Tab::Connections;
                        std::mem::replace(wants, wanted) != wanted
                    });
                }
                // A new size is drawn like anything else that changed.
                _ => {}
            },
            update = updates.recv() => match update {
                Some(Update::Sample(sample)) => view.sampled(*sample, Instant::now()),
                Some(Update::Connections(connections)) => view.connected(connections),
                None => bail!("nobody asks the broker any more"),
            },
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = hang_up.recv() => return Ok(()),
        }
    }
}

/// Asks again and again, and for connections while they are wanted, at once when that begins.
fn ask(mut sampler: Sampler, interval: Duration, mut wanted: watch::Receiver<bool>) -> mpsc::Receiver<Update> {
    let (sender, updates) = mpsc::channel(WAITING_COUNT_MAX);
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_tick = tokio::select! {
                _ = ticks.tick() => true,
                changed = wanted.changed() => if changed.is_ok() { false } else { return },
            };
            let mut is_there = true;
            if is_tick {
                let sample = sampler.sample().await;
                is_there = sample.is_ok();
                if sender.send(Update::Sample(Box::new(sample))).await.is_err() {
                    return;
                }
            }
            if is_there && *wanted.borrow_and_update() {
                let connections = sampler.connections().await;
                if sender.send(Update::Connections(connections)).await.is_err() {
                    return;
                }
            }
        }
    });
    updates
}

/// A thread, because reading a terminal blocks; it ends with the process, or at the first key that nobody wants.
fn read_keys() -> Result<mpsc::Receiver<io::Result<Event>>> {
    let (sender, keys) = mpsc::channel(WAITING_COUNT_MAX);
    let read = move || {
        loop {
            let event = event::read();
            let is_last = event.is_err();
            if sender.blocking_send(event).is_err() || is_last {
                return;
            }
        }
    };
    std::thread::Builder::new().name("keys".to_string()).spawn(read).context("cannot start a thread")?;
    Ok(keys)
}
