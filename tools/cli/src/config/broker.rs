//! The settings as the broker takes them. Owns which field each key is; what cannot stand beside each other is the broker's own
//! judgement, told here with the key and the place that it came from. Runs on the CLI's main thread before a broker starts.

use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::{Context, Result, anyhow, bail};
use ouzel_broker::{BrokerConfig, ShownSetting};

use super::{Effective, SETTINGS};
use crate::units::exact_bytes;

impl Effective {
    /// The settings of the broker to start.
    ///
    /// # Errors
    /// An address that nobody has, or settings that cannot stand beside each other: key, place and reason.
    pub(crate) fn broker_config(&self) -> Result<BrokerConfig> {
        let mut config = BrokerConfig::new(&self.value("data_dir").text);
        config.native = self.address("native")?;
        config.kafka = Some(self.address("kafka")?);
        config.admin = Some(self.address("admin")?);
        self.set_number("shards", &mut config.shards);
        config.cpus = self.cores("cpus");
        // What is `auto` goes by the shards that were just set.
        let (memory, journal) = (self.number("memory.bytes.max"), self.number("journal.bytes.max"));
        config.memory_bytes_max = memory.unwrap_or_else(|| BrokerConfig::memory_bytes_auto(config.shards));
        config.journal_bytes_max = journal.unwrap_or_else(|| BrokerConfig::journal_bytes_auto(config.shards));
        self.set_number("spin.us", &mut config.spin_us);
        config.executor = self.value("executor").text.parse()?;
        self.set_number("connections.max", &mut config.peers.count_max);
        self.set_number("connections.per.source.max", &mut config.peers.count_per_source_max);
        self.set_number("connections.max.idle.ms", &mut config.peers.idle_ms);
        config.topic_defaults.auto_create = self.switch("auto.create.topics.enable");
        self.set_number("num.partitions", &mut config.topic_defaults.partitions);
        let groups = &mut config.groups;
        self.set_number("group.initial.rebalance.delay.ms", &mut groups.initial_rebalance_delay_ms);
        self.set_number("group.consumer.session.timeout.ms", &mut groups.consumer.session_timeout_ms);
        self.set_number("group.consumer.heartbeat.interval.ms", &mut groups.consumer.heartbeat_interval_ms);
        if let Some(minutes) = self.number("offsets.retention.minutes") {
            groups.offsets_retention_ms = minutes * 60_000;
        }
        config.settings = self.shown(&config);
        config.check().map_err(|refusal| {
            let source = &self.value(refusal.key).source;
            anyhow!("`{}` from {source}: {}; see `ouzel config --explain`", refusal.key, refusal.reason)
        })?;
        Ok(config)
    }

    /// What a setting comes to on this host: what stands for `auto`, and the value itself where it is another.
    pub(crate) fn comes_to(&self, key: &str, config: &BrokerConfig) -> String {
        let text = &self.value(key).text;
        if text != "auto" {
            return text.clone();
        }
        match key {
            "shards" => config.shards.to_string(),
            "memory.bytes.max" => exact_bytes(config.memory_bytes_max),
            "journal.bytes.max" => exact_bytes(config.journal_bytes_max),
            "connections.per.source.max" => "no limit".to_owned(),
            _ => unreachable!("`{key}` is never auto"),
        }
    }

    /// All settings, for the broker to show.
    fn shown(&self, config: &BrokerConfig) -> Vec<ShownSetting> {
        let shown = SETTINGS.iter().map(|setting| {
            let value = self.value(setting.key);
            ShownSetting {
                key: setting.key.to_owned(),
                value: value.text.clone(),
                effective: self.comes_to(setting.key, config),
                source: value.source.to_string(),
                default: setting.default.to_owned(),
                range: setting.range(),
                explain: setting.explain.to_owned(),
                why: setting.why.to_owned(),
            }
        });
        shown.collect()
    }

    /// Sets a field to a number; `auto` leaves it as it is.
    fn set_number<N: TryFrom<u64>>(&self, key: &str, field: &mut N) {
        if let Some(number) = self.number(key) {
            *field = N::try_from(number).unwrap_or_else(|_| unreachable!("the bounds of `{key}` fit its field"));
        }
    }

    fn address(&self, key: &str) -> Result<SocketAddr> {
        let value = self.value(key);
        let mut addresses = value
            .text
            .to_socket_addrs()
            .with_context(|| format!("`{key}` from {}: cannot find the address {}", value.source, value.text))?;
        match addresses.next() {
            Some(address) => Ok(address),
            None => bail!("`{key}` from {}: {} names no address", value.source, value.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::SettingArgs;
    use crate::config::setting::Kind;

    fn load(pairs: &[(&str, &str)]) -> Effective {
        let set = pairs.iter().map(|(key, text)| (key.to_string(), text.to_string())).collect();
        let arguments = SettingArgs { set, ..SettingArgs::default() };
        Effective::load(&arguments, std::iter::empty()).expect("each is possible by itself")
    }

    #[test]
    fn settings_that_cannot_stand_beside_each_other_are_refused_with_key_and_place() {
        for (pairs, words) in [
            (&[("shards", "2"), ("cpus", "0")][..], "`cpus` from flag --set cpus: 1 cores were named for 2"),
            (
                &[("shards", "128"), ("journal.bytes.max", "512MiB")],
                "`journal.bytes.max` from flag --set journal.bytes.max",
            ),
            (
                &[("shards", "33"), ("memory.bytes.max", "512MiB")],
                "`memory.bytes.max` from flag --set memory.bytes.max",
            ),
            (&[("native", "127.0.0.1:9091"), ("shards", "1")], "`kafka` from default: port 9092"),
            (&[("group.consumer.session.timeout.ms", "5000")], "`group.consumer.heartbeat.interval.ms` from default"),
        ] {
            let error = load(pairs).broker_config().expect_err(words).to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_host_with_any_number_of_cores_starts_with_the_defaults() {
        for (shards, memory_mib, journal_mib) in [(1, 512, 512), (32, 512, 512), (33, 528, 512), (256, 4096, 2048)] {
            let config = load(&[("shards", &shards.to_string())]).broker_config().expect("possible");
            assert_eq!((config.memory_bytes_max >> 20, config.journal_bytes_max >> 20), (memory_mib, journal_mib));
        }
    }

    #[test]
    fn every_setting_that_is_auto_comes_to_something() {
        let effective = load(&[]);
        let config = effective.broker_config().expect("possible");
        for shown in &config.settings {
            assert_eq!(shown.effective == shown.value, shown.value != "auto", "{shown:?}");
        }
        let effective = load(&[("shards", "40"), ("memory.bytes.max", "1GiB")]);
        let config = effective.broker_config().expect("possible");
        for (key, text) in [("shards", "40"), ("memory.bytes.max", "1GiB"), ("journal.bytes.max", "512MiB")] {
            assert_eq!(effective.comes_to(key, &config), text);
        }
    }

    #[test]
    fn every_bound_fits_its_field() {
        let most = SETTINGS.iter().filter_map(|setting| match setting.kind {
            // Those two have a bound in another setting as well.
            Kind::Number { .. } if ["shards", "group.consumer.heartbeat.interval.ms"].contains(&setting.key) => None,
            Kind::Number { most, .. } => Some((setting.key, most.to_string())),
            _ => None,
        });
        let most: Vec<(&str, String)> = most.collect();
        let pairs: Vec<(&str, &str)> = most.iter().map(|(key, text)| (*key, text.as_str())).collect();
        let config = load(&pairs).broker_config().expect("possible");
        assert_eq!(config.topic_defaults.partitions, 10_000);
        assert_eq!(config.groups.offsets_retention_ms, i32::MAX as u64 * 60_000);
    }

    #[test]
    fn defaults_are_those_of_the_broker() {
        let (config, plain) = (load(&[]).broker_config().expect("possible"), BrokerConfig::new("./ouzel-data"));
        assert_eq!(config.shards, plain.shards);
        assert_eq!(config.groups, plain.groups);
        assert_eq!(
            (config.memory_bytes_max, config.journal_bytes_max),
            (plain.memory_bytes_max, plain.journal_bytes_max)
        );
        assert_eq!((config.peers.count_max, config.peers.idle_ms), (plain.peers.count_max, plain.peers.idle_ms));
        assert_eq!((config.spin_us, config.executor, config.native), (plain.spin_us, plain.executor, plain.native));
    }
}
