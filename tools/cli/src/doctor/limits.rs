//! The limits that this login has: lockable memory and open files. A service's are its unit's to set, and are not seen from here. Owns
//! the lines that raise both.

use ouzel_broker::BrokerConfig;
use rustix::process::{Resource, geteuid, getrlimit};

use super::finding::Finding;

const MIB: u64 = 1024 * 1024;
/// Less lockable memory than this may refuse rings on hosts that charge them to it: systemd's own default.
const MEMLOCK_BYTES_MIN: u64 = 8 * MIB;
/// Descriptors that a broker needs beside connections and segments.
const FILES_FIXED: u64 = 1_024;
/// Fewer open files than this hold the first segments and a few connections, and no more.
const FILES_MIN: u64 = 4_096;

pub(super) fn look(config: &BrokerConfig) -> [Finding; 2] {
    let user = user_name();
    let memory = getrlimit(Resource::Memlock).current;
    // A broker raises its own limit to the hard one.
    let files = getrlimit(Resource::Nofile).maximum;
    [judge_memory(memory, &user), judge_files(files, config.peers.count_max as u64, &user)]
}

/// Who limits.conf is to name: this user, or the package's where he has no name.
fn user_name() -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    name_of(&users, geteuid().as_raw()).unwrap_or("ouzel").to_owned()
}

/// The name that passwd(5) has for a number.
fn name_of(users: &str, id: u32) -> Option<&str> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then_some(name)
    })
}

fn judge_memory(limit: Option<u64>, user: &str) -> Finding {
    let check = "lockable memory";
    match limit {
        None => Finding::good(check, of_login("unlimited")),
        Some(bytes) if bytes >= MEMLOCK_BYTES_MIN => Finding::good(check, of_login(&format!("{} KiB", bytes / 1024))),
        Some(bytes) => {
            let seen = of_login(&format!("{} KiB", bytes / 1024));
            Finding::wanting(
                check,
                format!("{seen}: rings may be refused, or go without registered buffers"),
                raise(user, "memlock", "unlimited", "LimitMEMLOCK=infinity"),
            )
        }
    }
}

fn judge_files(limit: Option<u64>, connections: u64, user: &str) -> Finding {
    let check = "open files";
    let Some(limit) = limit else { return Finding::good(check, of_login("unlimited")) };
    // Half of them are for segments.
    let needed = (FILES_FIXED + connections).saturating_mul(2).max(FILES_MIN);
    let seen = of_login(&limit.to_string());
    if limit >= needed {
        return Finding::good(check, seen);
    }
    let nofile = needed.next_power_of_two().max(1 << 20);
    Finding::wanting(
        check,
        format!("{seen}: half of them are for segments, and connections.max is {connections}"),
        raise(user, "nofile", &nofile.to_string(), &format!("LimitNOFILE={nofile}")),
    )
}

/// Whose limit it is that was seen.
fn of_login(limit: &str) -> String {
    format!("{limit} for this login; ouzel.service sets its own")
}

/// The line for a login, and the one for a service of one's own.
fn raise(user: &str, item: &str, value: &str, unit: &str) -> String {
    format!(
        "in /etc/security/limits.conf, for logins from then on: {user} - {item} {value}; the package's unit has {unit} already, one of your own takes it below [Service] (`systemctl edit UNIT`)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::State;

    #[test]
    fn users_are_named_by_their_number() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbroken\nouzel:x:990:990::/var/lib/ouzel:/usr/sbin/nologin\n";
        assert_eq!(name_of(users, 0), Some("root"));
        assert_eq!(name_of(users, 990), Some("ouzel"));
        assert_eq!(name_of(users, 1), None);
    }

    #[test]
    fn limits_that_are_too_low_come_with_the_lines_that_raise_them() {
        assert_eq!(judge_memory(None, "ouzel").state, State::Good);
        assert_eq!(judge_memory(None, "ouzel").seen, "unlimited for this login; ouzel.service sets its own");
        assert_eq!(judge_memory(Some(8 * MIB), "ouzel").state, State::Good);
        let low = judge_memory(Some(64 * 1024), "ouzel").remedy.expect("a remedy");
        assert!(low.contains("LimitMEMLOCK=infinity") && low.contains("ouzel - memlock unlimited"), "{low}");

        assert_eq!(judge_files(None, 50_000, "ouzel").state, State::Good);
        assert_eq!(judge_files(Some(1 << 20), 50_000, "ouzel").state, State::Good);
        let low = judge_files(Some(1024), 50_000, "ouzel").remedy.expect("a remedy");
        assert!(low.contains("LimitNOFILE=1048576") && low.contains("ouzel - nofile 1048576"), "{low}");
    }
}
