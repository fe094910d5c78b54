//! The disk whose power a verification run cuts: `ouzel-vdisk` as a child process, and its control socket. Owns the child
//! and its directory; the disk itself, with all that happens in a cut, is the child's. Blocks; runs on the caller's thread.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::ending::Moment;

/// Unsynced writes that met a cut, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CutWrites {
    /// Whole on the disk.
    pub kept: u64,
    /// Some of their sectors are on the disk.
    pub torn: u64,
    /// Nothing of them is.
    pub lost: u64,
}

impl CutWrites {
    /// Adds another's sums.
    pub fn add(&mut self, other: &CutWrites) {
        self.kept += other.kept;
        self.torn += other.torn;
        self.lost += other.lost;
    }

    /// Reads the answer to a cut, such as `style=scattered kept=4 torn=1 lost=3 ago_us=41`.
    fn parse(answer: &str) -> CutWrites {
        CutWrites { kept: number(answer, "kept="), torn: number(answer, "torn="), lost: number(answer, "lost=") }
    }
}

/// The number behind the word that begins with `name`; 0 if there is none.
fn number(answer: &str, name: &str) -> u64 {
    answer.split_ascii_whitespace().find_map(|word| word.strip_prefix(name)?.parse().ok()).unwrap_or(0)
}

/// A mounted disk. Dropping it unmounts it and takes it away; what holds files open on it must be gone by then.
#[derive(Debug)]
pub(super) struct Disk {
    child: Child,
    /// Held open: the disk goes by itself when this closes.
    stdin: Option<ChildStdin>,
    directory: TempDir,
}

impl Disk {
    /// Makes a disk of `size_bytes` in a new directory under `parent`, with an empty file system, mounted.
    ///
    /// # Errors
    /// It cannot be made; the child says why on stderr.
    pub(super) fn start(program: &Path, parent: &Path, size_bytes: u64, seed: u64) -> Result<Disk> {
        let directory = tempfile::Builder::new()
            .prefix("ouzel-vdisk-")
            .tempdir_in(parent)
            .with_context(|| format!("no directory for the disk in {}", parent.display()))?;
        let mut command = Command::new(program);
        command.arg("run").arg("--stop-with-stdin").arg("--dir").arg(directory.path());
        command.args(["--size", &size_bytes.to_string(), "--seed", &seed.to_string()]);
        // A group of its own, as for the broker: Ctrl-C ends the run, and the run ends the disk.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let stdin = child.stdin.take();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().context("the child has no stdout")?).read_line(&mut ready)?;
        let disk = Disk { child, stdin, directory };
        if !ready.starts_with("ouzel-vdisk ready ") {
            bail!("{} did not make a disk; its reason stands above", program.display());
        }
        Ok(disk)
    }

    /// Where its file system is mounted.
    pub(super) fn mount(&self) -> PathBuf {
        self.directory.path().join("mnt")
    }

    /// Cuts the power, at once or at some operation soon. Everything on the disk fails from then on. Returns when it
    /// happened, by this process's clock.
    ///
    /// # Errors
    /// The disk process is gone or broken.
    pub(super) fn cut(&self, moment: Moment) -> Result<(CutWrites, Instant)> {
        let answer = self.send(&moment.command())?;
        let ago = Duration::from_micros(number(&answer, "ago_us="));
        let now = Instant::now();
        Ok((CutWrites::parse(&answer), now.checked_sub(ago).unwrap_or(now)))
    }

    /// Switches the power on and mounts again. Whoever used the disk must have ended.
    ///
    /// # Errors
    /// Somebody still uses the disk, or ext4 cannot be mounted.
    pub(super) fn power_on(&self) -> Result<()> {
        self.send("power-on").map(drop).context("the file system did not come back after a power cut")
    }

    /// Sends one command of `ouzel-vdisk send` and returns the answer.
    ///
    /// # Errors
    /// The command failed, or the disk process is gone.
    pub(super) fn send(&self, command: &str) -> Result<String> {
        let connection = UnixStream::connect(self.directory.path().join("control")).context("the disk is gone")?;
        writeln!(&connection, "{command}")?;
        let mut answer = String::new();
        BufReader::new(&connection).read_line(&mut answer)?;
        match answer.trim_end().strip_prefix("ok") {
            Some(rest) => Ok(rest.trim_start().to_string()),
            None => bail!("the disk refused `{command}`: {}", answer.trim_end()),
        }
    }

    /// Keeps the image of the disk beyond this value; returns where it is. `mount -o loop,ro` shows what is on it.
    pub(super) fn keep(&mut self) -> PathBuf {
        self.directory.disable_cleanup(true);
        self.directory.path().join("image")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // It ends by itself; the directory must not be removed before its file systems are unmounted.
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_a_cut_is_read_and_summed() {
        let mut sums = CutWrites::parse("style=scattered kept=4 torn=1 lost=3 ago_us=41");
        sums.add(&CutWrites { kept: 1, torn: 1, lost: 1 });
        assert_eq!(sums, CutWrites { kept: 5, torn: 2, lost: 4 });
    }
}
