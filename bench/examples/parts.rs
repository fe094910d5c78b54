//! What a durable gigabyte cannot do without, each part alone: the denominator of the broker's CPU per gigabyte. Owns
//! plain loops over the kernel's calls, no part of ouzel; prints one object of JSON with CPU seconds per 10^9 bytes.
//!
//! Requests of 64 KiB are received over loopback, their CRC-32C is computed, they are copied twice (into a tail, into a
//! journal image), and 1 MiB at a time is written twice with O_DIRECT over blocks that exist; the journal's write is
//! followed by an fdatasync. The time of a thread counts its system calls. Runs on one core, its sender on another:
//! `parts DIRECTORY [CORE [CORE OF THE SENDER]]`.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use crc_fast::CrcAlgorithm;
use ouzel_bench::process::pin_to;
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

const REQUEST_BYTES: usize = 64 * 1024;
const WRITE_BYTES: usize = 1024 * 1024;
const BLOCK: usize = 4096;
/// Bytes of the tail that requests are copied into: more than a core's cache holds.
const TAIL_BYTES: usize = 64 * 1024 * 1024;
/// Bytes of each part.
const TOTAL_BYTES: usize = 1024 * 1024 * 1024;
/// Bytes of the files that are written over and over.
const FILE_BYTES: usize = 256 * 1024 * 1024;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().context("usage: parts DIRECTORY [CORE [CORE OF THE SENDER]]")?);
    let core = arguments.next().map(|text| text.parse::<usize>()).transpose()?;
    let sender_core = arguments.next().map(|text| text.parse::<usize>()).transpose()?;
    if let Some(core) = core {
        pin_to(core)?;
    }
    let receive = receive(sender_core)?;
    let crc = per_gigabyte(|request| {
        std::hint::black_box(crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, std::hint::black_box(request)));
        Ok(())
    })?;
    let copies = copies()?;
    let directory = tempfile::tempdir_in(directory)?;
    let journal = writes(&directory.path().join("journal"), true)?;
    let segment = writes(&directory.path().join("segment"), false)?;
    let sum = receive + crc + copies + journal.cpu_s + segment.cpu_s;
    println!(
        "{}",
        json!({
            "receive_cpu_s_per_gb": receive,
            "crc_cpu_s_per_gb": crc,
            "copies_cpu_s_per_gb": copies,
            "journal_cpu_s_per_gb": journal.cpu_s,
            "segment_cpu_s_per_gb": segment.cpu_s,
            "sum_cpu_s_per_gb": sum,
            "journal_mb_per_s": journal.mb_per_s,
            "segment_mb_per_s": segment.mb_per_s,
        })
    );
    Ok(())
}

/// CPU seconds of this thread so far.
fn cpu_s() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

fn scaled(cpu_s: f64) -> f64 {
    cpu_s / (TOTAL_BYTES as f64 / 1e9)
}

/// Runs `part` over a few requests in turn: what was just received lies in the core's cache.
fn per_gigabyte(mut part: impl FnMut(&[u8]) -> Result<()>) -> Result<f64> {
    let memory = vec![7_u8; 4 * REQUEST_BYTES];
    let started = cpu_s();
    for request in memory.chunks_exact(REQUEST_BYTES).cycle().take(TOTAL_BYTES / REQUEST_BYTES) {
        part(request)?;
    }
    Ok(scaled(cpu_s() - started))
}

fn receive(sender_core: Option<usize>) -> Result<f64> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    let sender = std::thread::spawn(move || -> Result<()> {
        if let Some(core) = sender_core {
            pin_to(core)?;
        }
        let mut stream = TcpStream::connect(address)?;
        let request = vec![7_u8; REQUEST_BYTES];
        for _ in 0..TOTAL_BYTES / REQUEST_BYTES {
            stream.write_all(&request)?;
        }
        Ok(())
    });
    let (mut stream, _) = listener.accept()?;
    let mut request = vec![0_u8; REQUEST_BYTES];
    let started = cpu_s();
    for _ in 0..TOTAL_BYTES / REQUEST_BYTES {
        stream.read_exact(&mut request)?;
    }
    let used = cpu_s() - started;
    sender.join().expect("the sender does not panic")?;
    Ok(scaled(used))
}

/// Into the tail, and from there into the image of a commit.
fn copies() -> Result<f64> {
    let mut tail = vec![1_u8; TAIL_BYTES];
    let mut image = vec![2_u8; WRITE_BYTES];
    let (mut at, mut filled) = (0, 0);
    per_gigabyte(|request| {
        let kept = &mut tail[at..at + REQUEST_BYTES];
        kept.copy_from_slice(std::hint::black_box(request));
        image[filled..filled + REQUEST_BYTES].copy_from_slice(kept);
        // Else the compiler sees that nobody reads the tail, and copies once.
        std::hint::black_box(&mut tail);
        std::hint::black_box(&mut image);
        at = (at + REQUEST_BYTES) % TAIL_BYTES;
        filled = (filled + REQUEST_BYTES) % WRITE_BYTES;
        Ok(())
    })
}

struct Writes {
    cpu_s: f64,
    mb_per_s: f64,
}

fn writes(path: &Path, is_synced: bool) -> Result<Writes> {
    let file = direct(path)?;
    let memory = vec![7_u8; WRITE_BYTES + BLOCK];
    // The kernel wants the memory of a direct write on a block's boundary.
    let image = &memory[memory.as_ptr().align_offset(BLOCK)..][..WRITE_BYTES];
    for position in (0..FILE_BYTES).step_by(WRITE_BYTES) {
        file.write_all_at(image, position as u64)?;
    }
    file.sync_all()?;
    let (started, cpu) = (Instant::now(), cpu_s());
    for written in (0..TOTAL_BYTES).step_by(WRITE_BYTES) {
        file.write_all_at(image, (written % FILE_BYTES) as u64)?;
        if is_synced {
            file.sync_data()?;
        }
    }
    let mb_per_s = TOTAL_BYTES as f64 / 1e6 / started.elapsed().as_secs_f64();
    Ok(Writes { cpu_s: scaled(cpu_s() - cpu), mb_per_s })
}

fn direct(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).custom_flags(libc::O_DIRECT);
    options.open(path).with_context(|| format!("no direct I/O in {}", path.display()))
}
