//! `ouzel serve`: turns settings into a running broker, says when it is ready, and ends with it. Owns the ready line and
//! the notifications; the broker itself is a library. Runs on the process's main thread, which only waits.

use std::io::Read;
use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::{Context, Result, bail};
use ouzel_broker::{BrokerConfig, RunningBroker, serve};
use ouzel_broker_core::group::GroupConfig;
use rustix::process::{Signal, getpid, kill_process};

use crate::args::ServeArgs;
use crate::config::{Effective, environment};
use crate::notify::notify;
use crate::output::print_line;

/// Runs a broker until SIGINT or SIGTERM.
pub(crate) fn run(args: &ServeArgs) -> Result<()> {
    let effective = Effective::load(&args.settings, environment())?;
    let config = broker_config(&effective)?;
    let stop_with_stdin = args.stop_with_stdin;
    let served = serve(config, |broker| ready(broker, stop_with_stdin));
    notify("STOPPING=1");
    served?;
    tracing::info!("stopped");
    Ok(())
}

/// Tells everybody who waits that the broker serves.
fn ready(broker: &RunningBroker, stop_with_stdin: bool) {
    // Whoever started us may have closed stdout; the broker serves all the same.
    if let Err(error) = print_line(&broker.ready_line()) {
        tracing::warn!(%error, "the ready line has no reader");
    }
    notify("READY=1");
    if stop_with_stdin {
        watch_stdin();
    }
}

/// Asks for a stop in good order as soon as stdin is closed: our parent has ended.
fn watch_stdin() {
    let thread = std::thread::Builder::new().name("stdin".to_string());
    let watching = thread.spawn(|| {
        let mut buf = [0; 64];
        let mut stdin = std::io::stdin().lock();
        // An error of reading means as well that nobody is there any more.
        while matches!(stdin.read(&mut buf), Ok(bytes) if bytes > 0) {}
        tracing::info!("stdin is closed: stopping");
        if let Err(error) = kill_process(getpid(), Signal::TERM) {
            tracing::error!(%error, "cannot ask for a stop");
        }
    });
    if let Err(error) = watching {
        tracing::warn!(%error, "cannot watch stdin");
    }
}

/// The settings as the broker takes them.
fn broker_config(effective: &Effective) -> Result<BrokerConfig> {
    let mut config = BrokerConfig::new(&effective.value("data_dir").text);
    config.native = address(effective, "native")?;
    config.kafka = Some(address(effective, "kafka")?);
    config.admin = Some(address(effective, "admin")?);
    if let Some(shards) = effective.number("shards") {
        config.shards = u16::try_from(shards).ok().with_context(|| format!("`shards` = {shards} is too many"))?;
    }
    if let Some(bytes) = effective.number("memory.bytes.max") {
        config.memory_bytes_max = bytes;
    }
    if let Some(bytes) = effective.number("journal.bytes.max") {
        config.journal_bytes_max = bytes;
    }
    if let Some(spin_us) = effective.number("spin.us") {
        config.spin_us = u32::try_from(spin_us).unwrap_or(u32::MAX);
    }
    config.executor = effective.value("executor").text.parse()?;
    let count = |key: &str| effective.number(key).map(|count| usize::try_from(count).unwrap_or(usize::MAX));
    if let Some(count) = count("connections.max") {
        config.peers.count_max = count;
    }
    if let Some(count) = count("connections.per.source.max") {
        config.peers.count_per_source_max = count;
    }
    if let Some(idle_ms) = effective.number("connections.max.idle.ms") {
        config.peers.idle_ms = idle_ms;
    }
    config.cpus = effective.cores("cpus");
    config.topic_defaults.auto_create = effective.switch("auto.create.topics.enable");
    if let Some(count) = effective.number("num.partitions") {
        config.topic_defaults.partitions = u32::try_from(count).unwrap_or(u32::MAX);
    }
    groups(effective, &mut config.groups)?;
    Ok(config)
}

fn groups(effective: &Effective, groups: &mut GroupConfig) -> Result<()> {
    if let Some(ms) = effective.number("group.initial.rebalance.delay.ms") {
        groups.initial_rebalance_delay_ms = u32::try_from(ms).unwrap_or(u32::MAX);
    }
    let consumer = &mut groups.consumer;
    if let Some(ms) = effective.number("group.consumer.session.timeout.ms") {
        consumer.session_timeout_ms = u32::try_from(ms).unwrap_or(u32::MAX);
    }
    if let Some(ms) = effective.number("group.consumer.heartbeat.interval.ms") {
        consumer.heartbeat_interval_ms = u32::try_from(ms).unwrap_or(u32::MAX);
    }
    if consumer.heartbeat_interval_ms >= consumer.session_timeout_ms {
        bail!(
            "`group.consumer.heartbeat.interval.ms` is {}: it must be less than `group.consumer.session.timeout.ms`, {}",
            consumer.heartbeat_interval_ms,
            consumer.session_timeout_ms
        );
    }
    if let Some(minutes) = effective.number("offsets.retention.minutes") {
        groups.offsets_retention_ms = minutes.saturating_mul(60_000);
    }
    Ok(())
}

fn address(effective: &Effective, key: &str) -> Result<SocketAddr> {
    let value = effective.value(key);
    let mut addresses = value
        .text
        .to_socket_addrs()
        .with_context(|| format!("`{key}` in {}: cannot find the address {}", value.source, value.text))?;
    match addresses.next() {
        Some(address) => Ok(address),
        None => bail!("`{key}` in {}: {} names no address", value.source, value.text),
    }
}
