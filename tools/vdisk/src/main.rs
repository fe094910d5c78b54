//! `ouzel-vdisk`: a disk with ext4 on it whose power can be cut under a real process. Owns the command line, the order in
//! which the stack is set up and taken down, and the printing; the drive is in `disk.rs`. The main thread serves the control socket,
//! FUSE's threads the disk, one more watches standard input if asked to.
#![forbid(unsafe_code)]

mod control;
mod cut;
mod disk;
mod file_system;
mod guard;
mod stack;

use std::fs::File;
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};
use fuser::{Config, MountOption, Session};
use rustix::fs::MemfdFlags;

use crate::disk::Disk;
use crate::file_system::DiskFile;
use crate::stack::Places;

/// Threads that answer the kernel: a slow flush must not hold up reads.
const FUSE_THREADS: usize = 4;
/// What ext4 needs for its own tables and journal, with room for a file.
const DISK_BYTES_MIN: u64 = 16 * 1024 * 1024;

const EXAMPLES: &str = "\
Needs root, /dev/fuse, loop devices, mkfs.ext4 and losetup. No kernel module, no libfuse.

Examples:
  ouzel-vdisk run --dir /tmp/disk --size 1GiB &       # prints: ouzel-vdisk ready mount=/tmp/disk/mnt ...
  ouzel serve --data-dir /tmp/disk/mnt/data &         # any program will do
  ouzel-vdisk send /tmp/disk cut                      # prints: style=scattered kept=4 torn=1 lost=3
  ouzel-vdisk send /tmp/disk cut on flush 1000        # ... at the next fdatasync, where most can be lost
  kill -9 %2                                          # its disk is dead; the machine would be as well
  ouzel-vdisk send /tmp/disk power-on                 # ext4 replays its journal
  ouzel-vdisk send /tmp/disk fail flushes 1           # the next fdatasync returns EIO
  ouzel-vdisk send /tmp/disk latency flushes 200      # a disk that has grown slow
  ouzel-vdisk send /tmp/disk stats
  ouzel-vdisk send /tmp/disk stop                     # unmounts and takes the loop device away

Writes count as safe only when the device was flushed: what a program did not sync may be lost, torn at a 512 byte
sector, or survive while older writes do not. The first 4 KiB of the disk, ext4's superblock, are never torn.
A killed `run` leaves nothing behind: a guard process unmounts what it had mounted.";

#[derive(Parser)]
#[command(
    name = "ouzel-vdisk",
    about = "A disk with ext4 on it whose power can be cut under a real process",
    version,
    after_help = EXAMPLES
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the disk, mount it, and serve it until `stop`
    #[command(after_help = control::COMMANDS)]
    Run(Run),
    /// Send one command to a running disk
    #[command(after_help = control::COMMANDS)]
    Send {
        /// The directory that was given to `run`
        dir: PathBuf,
        /// The command and its arguments
        #[arg(required = true)]
        command: Vec<String>,
    },
    /// Take away what a `run` in that directory left, once it has ended
    #[command(name = guard::SUBCOMMAND, hide = true)]
    Guard { dir: PathBuf },
}

#[derive(Args)]
struct Run {
    /// Directory for everything: `mnt` (ext4), `fuse/disk` (the disk), `control` (socket), `image`; made if missing
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Size of the disk
    #[arg(long, value_name = "BYTES", default_value = "1GiB", value_parser = parse_size)]
    size: u64,
    /// Decides what each cut keeps, tears and loses; picked and printed if not given
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Keep the disk in memory instead of in DIR/image
    #[arg(long)]
    memory: bool,
    /// Use DIR/image as it is instead of making an empty file system: a disk that was kept
    #[arg(long, conflicts_with = "memory")]
    existing: bool,
    /// End when standard input ends, so that the disk goes with whoever started it
    #[arg(long)]
    stop_with_stdin: bool,
}

/// Parses `256MiB`, `1GiB`, `65536`.
fn parse_size(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let unit: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        other => return Err(format!("unknown unit `{other}`: B, KiB, MiB or GiB")),
    };
    let bytes = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(unit));
    // Whole pages, so that every block of the file system lies on the disk.
    bytes.map(|bytes| bytes / 4096 * 4096).ok_or_else(|| format!("`{text}` is no size"))
}

fn main() -> ExitCode {
    // A thread that panics would leave the kernel waiting for an answer: the whole process ends, and the guard cleans up.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        std::process::abort();
    }));
    let result = match Cli::parse().command {
        Command::Run(options) => run(&options),
        Command::Send { dir, command } => {
            control::send(&dir.join("control"), &command.join(" ")).map(|answer| println!("{answer}"))
        }
        Command::Guard { dir } => Places::new(&dir).map(|places| guard::run(&places)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ouzel-vdisk: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Run) -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "this must run as root: it mounts file systems");
    ensure!(Path::new("/dev/fuse").exists(), "there is no /dev/fuse on this machine");
    ensure!(options.size >= DISK_BYTES_MIN, "a disk has at least {DISK_BYTES_MIN} bytes");
    std::fs::create_dir_all(&options.dir).with_context(|| format!("cannot make {}", options.dir.display()))?;
    let places = Places::new(&options.dir)?;
    let listener = UnixListener::bind(places.control()).with_context(|| {
        format!(
            "cannot listen on {}; another disk is there, or was killed together with its guard",
            places.control().display()
        )
    })?;
    let seed = options.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    // Before anything is mounted. Held to the end: the guard acts when its standard input closes.
    let mut guard = guard::start(&options.dir)?;
    let result = serve(options, &places, &listener, seed);
    stack::tear_down(&places);
    drop(guard.stdin.take());
    // It finds nothing to do; waiting for it means that nothing of ours is left when we end.
    let _ = guard.wait();
    result
}

fn serve(options: &Run, places: &Places, listener: &UnixListener, seed: u64) -> Result<()> {
    let (image, size) = open_image(options, places)?;
    let disk = Arc::new(Mutex::new(Disk::new(image, size, seed)));
    std::fs::create_dir_all(places.fuse())?;
    std::fs::create_dir_all(places.mount())?;
    let mut config = Config::default();
    config.mount_options = vec![MountOption::FSName("ouzel-vdisk".into()), MountOption::NoExec, MountOption::NoSuid];
    config.n_threads = Some(FUSE_THREADS);
    let session = Session::new(DiskFile { disk: disk.clone() }, places.fuse(), &config)
        .context("cannot mount the FUSE file system")?
        .spawn()
        .context("cannot serve the FUSE file system")?;
    let device = stack::attach(places)?;
    if !options.existing {
        stack::make_file_system(&device)?;
    }
    stack::mount(places, &device)?;
    if options.stop_with_stdin {
        let socket = places.control();
        std::thread::Builder::new().name("stdin".into()).spawn(move || {
            let mut input = Vec::new();
            // Nothing is expected; an error means the same as the end.
            let _ = std::io::stdin().read_to_end(&mut input);
            // Fails only if the control socket has gone, and then the process is ending already.
            let _ = control::send(&socket, "stop");
        })?;
    }
    println!(
        "ouzel-vdisk ready mount={} control={} device={} bytes={size} seed={seed}",
        places.mount().display(),
        places.control().display(),
        device.display()
    );
    let result = control::serve(listener, &disk, places);
    // FUSE must be served until nothing above needs it.
    stack::detach(places)?;
    session.umount_and_join().context("cannot unmount the FUSE file system")?;
    result
}

/// The image and its size.
fn open_image(options: &Run, places: &Places) -> Result<(File, u64)> {
    if options.existing {
        let image = File::options().read(true).write(true).open(places.image()).context("no image to go on with")?;
        let size = image.metadata()?.len() / 4096 * 4096;
        return Ok((image, size));
    }
    let image = if options.memory {
        File::from(rustix::fs::memfd_create("ouzel-vdisk", MemfdFlags::CLOEXEC)?)
    } else {
        File::options().read(true).write(true).create(true).truncate(true).open(places.image())?
    };
    image.set_len(options.size).context("no room for the image")?;
    Ok((image, options.size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_and_are_whole_pages() {
        assert_eq!(parse_size("1GiB"), Ok(1 << 30));
        assert_eq!(parse_size("65537"), Ok(65536));
        assert!(parse_size("1 GB").is_err() && parse_size("").is_err() && parse_size("99999999999GiB").is_err());
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
