//! `ouzel doctor`: what this host can really give a broker, and the line that changes each thing found wanting. Owns the order of
//! the checks and the exit code; each file below looks at one thing and judges it. Changes nothing on the host. Runs on the
//! CLI's main thread.

mod clock;
mod cores;
mod device;
mod finding;
mod flush;
mod kernel;
mod limits;
mod mount;
mod place;
mod progress;
mod report;
mod space;
mod verdict;

use std::io;
use std::time::Duration;

use anyhow::{Result, bail};
use ouzel_broker::BrokerConfig;
use ouzel_runtime::host::{FlushPlan, FlushTimes, measure_flushes};

use self::device::Device;
use self::finding::{Finding, State};
use self::mount::Mount;
use self::place::Place;
use self::progress::Progress;
use self::verdict::Verdict;
use crate::args::DoctorArgs;
use crate::config::{Effective, environment};

const MIB: u64 = 1024 * 1024;
/// What is measured before a first start: a second at most, where the device does not stall.
const SHORT: FlushPlan =
    FlushPlan { file_bytes: 16 * MIB, small: Duration::from_millis(400), large: Duration::from_millis(400) };
/// What is measured with --long: past the caches that make a device look faster than it is.
const LONG: FlushPlan =
    FlushPlan { file_bytes: 512 * MIB, small: Duration::from_secs(10), large: Duration::from_secs(20) };
/// Of the free space, measuring takes a quarter at most.
const SPACE_SHARE: u64 = 4;

/// Everything that was found out.
#[derive(Debug)]
struct Examination {
    place: Place,
    findings: Vec<Finding>,
    times: Option<FlushTimes>,
    verdict: Verdict,
}

/// Looks at everything, prints it, and fails if a broker could not start.
pub(crate) fn run(args: &DoctorArgs, json: bool) -> Result<()> {
    let effective = Effective::load(&args.settings, environment()?)?;
    let config = effective.broker_config()?;
    // The short measurement is over before anybody has read a line.
    let progress = if args.long && !json { Progress::shown() } else { Progress::hidden() };
    let examination = examine(&config, if args.long { LONG } else { SHORT }, &progress);
    progress.end();
    report::print(&examination, json)?;
    match examination.findings.iter().filter(|finding| finding.state == State::Blocking).count() {
        0 => Ok(()),
        1 => bail!("a broker cannot start here: one of the findings is blocking, and the line above changes it"),
        count => {
            bail!("a broker cannot start here: {count} of the findings are blocking, and the lines above change them")
        }
    }
}

fn examine(config: &BrokerConfig, plan: FlushPlan, progress: &Progress) -> Examination {
    let place = Place::find(&config.data_dir);
    let mount = Mount::of(&place.measured);
    let device = Device::of(&place.measured, mount.as_ref());
    let on_mount = mount.as_ref().map(|mount| mount::look(mount, &place.data_dir));
    let mut findings: Vec<Finding> = place.look().into_iter().chain(on_mount).collect();
    // What is known to be in the way needs no second finding.
    let mut times = None;
    if is_usable(&findings) {
        findings.push(place.look_at_direct_io());
        if is_usable(&findings) {
            match measure(&place, plan, progress) {
                Ok(measured) => times = Some(measured),
                Err(error) => findings.push(flush::not_measured(&error, &place.measured, device.as_ref())),
            }
        }
    }
    let honesty = flush::honesty(mount.as_ref(), device.as_ref(), times.as_ref());
    if let Some(times) = &times {
        findings.push(flush::look(times, device.as_ref()));
        findings.push(honesty.look(mount.as_ref(), device.as_ref()));
    }
    findings.extend(space::look(&place, config));
    findings.extend(kernel::look());
    findings.extend(limits::look(config));
    findings.extend(cores::look(config));
    findings.push(clock::look());
    let verdict = Verdict::of(&findings, times.as_ref(), honesty, device.as_ref());
    Examination { place, findings, times, verdict }
}

fn is_usable(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.state != State::Blocking)
}

fn measure(place: &Place, plan: FlushPlan, progress: &Progress) -> io::Result<FlushTimes> {
    let free = space::free_bytes(&place.measured).unwrap_or(0);
    let plan = FlushPlan { file_bytes: plan.file_bytes.min(free / SPACE_SHARE), ..plan };
    measure_flushes(&place.measured, plan, |stage| progress.begins(stage, plan))
}
