//! A program on a pseudo-terminal: its keys are written, its screen is read as the bytes that it wrote. Each test file uses a part.
#![allow(dead_code)]

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

/// How long a test waits for the screen before it fails; nothing is measured by it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program and its terminal.
pub(crate) struct Terminal {
    child: Child,
    keys: File,
    /// The program's end, kept open so that the terminal outlives it.
    line: File,
    output: Receiver<Vec<u8>>,
    seen: Vec<u8>,
    modes_before: LocalModes,
}

impl Terminal {
    /// Starts the program on a terminal of 80 x 24.
    pub(crate) fn start(mut command: Command) -> Terminal {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&controller).expect("granted");
        unlockpt(&controller).expect("unlocked");
        let name = ptsname(&controller, Vec::new()).expect("a name").into_string().expect("text");
        let line = File::options().read(true).write(true).open(name).expect("the other end");
        tcsetwinsize(&line, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).expect("a size");
        let modes_before = tcgetattr(&line).expect("a terminal").local_modes;
        let end = || Stdio::from(line.try_clone().expect("a descriptor"));
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("the binary runs");
        drop(command);
        let keys = File::from(controller);
        let mut screen = keys.try_clone().expect("a descriptor");
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Terminal { child, keys, line, output, seen: Vec::new(), modes_before }
    }

    /// Presses keys.
    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("keys");
    }

    /// Waits until the program has written `text`, and forgets everything up to it.
    pub(crate) fn wait_for(&mut self, text: &str) {
        let found = |seen: &[u8]| seen.windows(text.len()).position(|window| window == text.as_bytes());
        while found(&self.seen).is_none() {
            let Ok(bytes) = self.output.recv_timeout(PATIENCE) else {
                panic!("{text:?} is not in {}", String::from_utf8_lossy(&self.seen).escape_debug())
            };
            self.seen.extend(bytes);
        }
        let end = found(&self.seen).expect("it is there") + text.len();
        self.seen.drain(..end);
    }

    /// Process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the terminal is as it was before the program had it: letters are shown, and lines are lines.
    pub(crate) fn is_restored(&self) -> bool {
        tcgetattr(&self.line).expect("a terminal").local_modes == self.modes_before
    }

    /// Waits for the end of the program.
    pub(crate) fn status(&mut self) -> ExitStatus {
        self.child.wait().expect("ended")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Both fail only for a program that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
