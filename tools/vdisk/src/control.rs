//! The control socket: one command in a line, one answer in a line, `ok ...` or `error ...`. Owns the words of the
//! commands; the work is done by the disk and the stack. Runs on the daemon's main thread, one connection at a time.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cut::Style;
use crate::disk::{Disk, Failing, Trigger};
use crate::file_system::lock;
use crate::stack::{self, Places};

/// How often a cut that was prepared is asked for.
const PREPARED_CUT_POLL: Duration = Duration::from_millis(1);

/// What `help` answers and `--help` shows.
pub(crate) const COMMANDS: &str = "\
Commands:
  cut [STYLE]             cut the power: unsynced writes are kept, torn or lost, then everything fails with EIO.
                          STYLE: lose-all, keep-all, in-order, reordered, scattered; without one the seed picks
  cut [STYLE] on write|flush MS
                          the same at the next write or flush, or after MS milliseconds if none comes
  power-on                unmount, attach and mount again, with a replay of ext4's journal; clears all faults
  fail reads|writes|flushes N|forever|never
                          answer the next N operations of that kind with EIO
  fail all                answer everything with EIO until `power-on`, or `fail none`
  fail none               no faults
  latency writes|flushes MS
                          let each operation of that kind take so much longer
  flip OFFSET [BIT]       flip a bit of the disk, at a byte offset (`filefrag -b1 -e -v FILE` shows a file's)
  stats                   counters, and what is unsynced now
  stop                    unmount, take everything away, and end";

/// Serves commands until one of them is `stop`.
///
/// # Errors
/// The socket broke.
pub(crate) fn serve(listener: &UnixListener, disk: &Arc<Mutex<Disk>>, places: &Places) -> Result<()> {
    for connection in listener.incoming() {
        let connection = connection.context("the control socket broke")?;
        // A client that goes away in the middle of a command is no reason to end.
        if matches!(converse(&connection, disk, places), Ok(true)) {
            return Ok(());
        }
    }
    Ok(())
}

/// Answers the commands of one connection; true if `stop` was among them.
fn converse(connection: &UnixStream, disk: &Arc<Mutex<Disk>>, places: &Places) -> Result<bool> {
    let mut out = connection;
    for line in BufReader::new(connection).lines() {
        let line = line?;
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        if words == ["stop"] {
            writeln!(out, "ok")?;
            return Ok(true);
        }
        match execute(&words, disk, places) {
            Ok(answer) => writeln!(out, "{}", format!("ok {answer}").trim_end())?,
            Err(error) => writeln!(out, "error {error:#}")?,
        }
    }
    Ok(false)
}

fn execute(words: &[&str], disk: &Mutex<Disk>, places: &Places) -> Result<String> {
    match words {
        ["cut", rest @ ..] => cut(rest, disk),
        ["power-on"] => power_on(disk, places),
        ["fail", rest @ ..] => fail(rest, disk),
        ["latency", kind, ms] => {
            let latency = Duration::from_millis(number(ms)?);
            let mut disk = lock(disk);
            let mut faults = disk.faults();
            match *kind {
                "writes" => faults.write_latency = latency,
                "flushes" => faults.flush_latency = latency,
                other => bail!("latency of what? `{other}` is neither writes nor flushes"),
            }
            disk.set_faults(faults);
            Ok(String::new())
        }
        ["flip", offset] => lock(disk).flip(number(offset)?, 0).map(|()| String::new()).map_err(Into::into),
        ["flip", offset, bit @ ("0" | "1" | "2" | "3" | "4" | "5" | "6" | "7")] => {
            lock(disk).flip(number(offset)?, bit.parse()?)?;
            Ok(String::new())
        }
        ["stats"] => Ok(stats(disk)),
        _ => bail!("no such command: {}", words.join(" ")),
    }
}

/// Answers what the cut did, and how long ago it was.
fn cut(words: &[&str], disk: &Mutex<Disk>) -> Result<String> {
    let (style, when) = match words {
        [style, when @ ..] if *style != "on" => {
            (Some(Style::named(style).with_context(|| format!("no style `{style}`"))?), when)
        }
        when => (None, when),
    };
    match when {
        [] => {}
        ["on", trigger, ms] => {
            let trigger = match *trigger {
                "write" => Trigger::Write,
                "flush" => Trigger::Flush,
                other => bail!("cut on what? `{other}` is neither write nor flush"),
            };
            let deadline = Instant::now() + Duration::from_millis(number(ms)?);
            lock(disk).prepare_cut(trigger, style);
            while lock(disk).last_cut().is_none() && Instant::now() < deadline {
                std::thread::sleep(PREPARED_CUT_POLL);
            }
        }
        _ => bail!("cut when? `on write MS` or `on flush MS`"),
    }
    let (report, at) = lock(disk).cut(style)?;
    Ok(format!("{report} ago_us={}", at.elapsed().as_micros()))
}

fn number(word: &str) -> Result<u64> {
    word.parse().with_context(|| format!("`{word}` is no number"))
}

fn fail(words: &[&str], disk: &Mutex<Disk>) -> Result<String> {
    let mut disk = lock(disk);
    let mut faults = disk.faults();
    let how = |word: &str| match word {
        "forever" => Ok(Failing::Forever),
        "never" | "0" => Ok(Failing::None),
        count => number(count).map(Failing::Next),
    };
    match words {
        ["reads", count] => faults.reads = how(count)?,
        ["writes", count] => faults.writes = how(count)?,
        ["flushes", count] => faults.flushes = how(count)?,
        ["all"] => {
            (faults.reads, faults.writes, faults.flushes) = (Failing::Forever, Failing::Forever, Failing::Forever)
        }
        ["none"] => (faults.reads, faults.writes, faults.flushes) = (Failing::None, Failing::None, Failing::None),
        _ => bail!("fail what? reads, writes or flushes with a number, `forever` or `never`; or all; or none"),
    }
    disk.set_faults(faults);
    Ok(String::new())
}

/// The device goes before the power comes, so that nothing which the kernel still holds is written to the disk.
fn power_on(disk: &Mutex<Disk>, places: &Places) -> Result<String> {
    let started = Instant::now();
    stack::detach(places)?;
    lock(disk).power_on();
    let device = stack::attach(places)?;
    stack::mount(places, &device)?;
    Ok(format!("device={} ms={}", device.display(), started.elapsed().as_millis()))
}

fn stats(disk: &Mutex<Disk>) -> String {
    let disk = lock(disk);
    let stats = disk.stats();
    let (unsynced_writes, unsynced_bytes) = disk.unsynced();
    format!(
        "reads={} writes={} written_bytes={} flushes={} failed={} refused={} cuts={} \
         unsynced_writes={unsynced_writes} unsynced_bytes={unsynced_bytes}",
        stats.reads, stats.writes, stats.written_bytes, stats.flushes, stats.failed, stats.refused, stats.cuts
    )
}

/// Sends one command to the disk at `socket` and returns its answer without the `ok`.
///
/// # Errors
/// Nobody listens there, or the answer is an error.
pub(crate) fn send(socket: &Path, command: &str) -> Result<String> {
    let connection = UnixStream::connect(socket)
        .with_context(|| format!("no disk answers at {}; is `ouzel-vdisk run` there?", socket.display()))?;
    writeln!(&connection, "{command}")?;
    let mut answer = String::new();
    BufReader::new(&connection).read_line(&mut answer)?;
    let answer = answer.trim_end();
    match answer.split_once(' ').unwrap_or((answer, "")) {
        ("ok", rest) => Ok(rest.to_string()),
        ("error", rest) => bail!("{rest}"),
        _ => bail!("the disk went away without an answer"),
    }
}
