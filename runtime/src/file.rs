//! An open file, direct I/O only. Checks alignment, resumes short writes, remembers failure. Knows no format, caches
//! nothing. Stays on its core.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;
use std::sync::Arc;

use io_uring::opcode;
use io_uring::squeue::Entry;
use io_uring::types::{Fd, FsyncFlags};

use crate::buf::{ALIGN, AlignedBuf, AlignedRead, WriteBuf};
use crate::driver::{Driver, FileBuf, FileDone, FileOp, SimFile};
use crate::executor::Core;
use crate::helper;
use crate::ring::RingDriver;
use crate::ring::ops::{Keep, WriteParts};
use crate::sync::oneshot;
use crate::sys;
use crate::tail::SharedSlice;

/// The most one operation transfers; larger buffers take several.
const TRANSFER_BYTES_MAX: usize = 1 << 30;
/// The kernel's limit of vectors in one write (IOV_MAX).
const VECTORS_MAX: usize = 1024;
/// Writes in a row that may advance by less than one block before that is an error.
const STALLED_WRITES_MAX: u32 = 3;

/// A file opened with O_DIRECT. Clones are the same file; it closes when the last one is dropped and nothing is in flight.
#[derive(Clone)]
pub struct File {
    inner: Rc<FileInner>,
}

/// What clones and operations in flight share.
pub(crate) struct FileInner {
    core: Rc<Core>,
    handle: Handle,
    /// The first write or sync that failed. What the disk holds is unknown from then on (docs/rules.md).
    failed: Cell<Option<Failure>>,
}

enum Handle {
    Ring { driver: Rc<RingDriver>, file: Option<Arc<std::fs::File>> },
    Sim(SimFile),
}

#[derive(Debug, Clone, Copy)]
struct Failure {
    kind: io::ErrorKind,
    code: Option<i32>,
}

impl File {
    pub(crate) fn on_ring(core: &Rc<Core>, driver: &Rc<RingDriver>, file: std::fs::File) -> Self {
        let handle = Handle::Ring { driver: Rc::clone(driver), file: Some(Arc::new(file)) };
        Self { inner: Rc::new(FileInner { core: Rc::clone(core), handle, failed: Cell::new(None) }) }
    }

    pub(crate) fn in_sim(core: &Rc<Core>, file: SimFile) -> Self {
        Self { inner: Rc::new(FileInner { core: Rc::clone(core), handle: Handle::Sim(file), failed: Cell::new(None) }) }
    }

    /// Writes the whole of `buf` at `offset`; both, and the buffer's address, are multiples of [`ALIGN`]. The buffer comes
    /// back in any case. Nothing is durable before [`fdatasync`](Self::fdatasync). Dropping the future leaves the range
    /// undefined and keeps the buffer until the kernel is done with it.
    ///
    /// # Errors
    /// `InvalidInput` for misalignment (caller); `StorageFull` for want of space: the range is undefined and may be written
    /// again. Else the disk's error, which is sticky: every later write and sync of this file fails with the same kind,
    /// because nobody knows what the disk holds.
    pub async fn write_at<B: AlignedRead>(&self, buf: B, offset: u64) -> (io::Result<()>, B) {
        let (result, buf) = self.inner.write_all(buf.into_write_buf(), offset).await;
        (result, B::from_write_buf(buf))
    }

    /// Writes `parts` one behind the other from `offset` on, by one operation where the kernel takes them whole. Each part's
    /// address and length, and `offset`, are multiples of [`ALIGN`]. Otherwise as [`write_at`](Self::write_at).
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    pub async fn write_parts_at(&self, parts: Vec<SharedSlice>, offset: u64) -> io::Result<()> {
        self.inner.write_parts(parts, offset).await
    }

    /// Reads up to `bytes` bytes at `offset` into the start of `buf`; both are multiples of [`ALIGN`]. The count is short
    /// only at the end of the file. Dropping the future keeps the buffer until the kernel is done with it.
    ///
    /// # Errors
    /// `InvalidInput` for misalignment or more bytes than `buf` has (caller); else the disk's error. Not sticky.
    pub async fn read_at(&self, buf: AlignedBuf, bytes: usize, offset: u64) -> (io::Result<usize>, AlignedBuf) {
        if let Err(error) = check_aligned(buf.as_ptr(), bytes, offset) {
            return (Err(error), buf);
        }
        if bytes > buf.len() {
            let text = format!("a read of {bytes} bytes into a buffer of {}", buf.len());
            return (Err(io::Error::new(io::ErrorKind::InvalidInput, text)), buf);
        }
        self.inner.read(buf, bytes, offset).await
    }

    /// Reads up to `bytes` bytes at `offset`, both multiples of [`ALIGN`], into memory of its own, which nobody has to clear first
    /// (clearing was 12 % of a shard's cycles while consumers caught up). Returns it with the count, short only at the
    /// end of the file; what lies behind the count is zeros. Dropping the future keeps the memory until the kernel is done with it.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    pub async fn read_new(&self, bytes: usize, offset: u64) -> io::Result<(usize, AlignedBuf)> {
        let buf = match self.inner.handle {
            // SAFETY: the buffer is seen again only below, when the read has filled `count` bytes and the rest is zeroed.
            Handle::Ring { .. } => unsafe { AlignedBuf::unwritten(bytes) },
            Handle::Sim(_) => AlignedBuf::zeroed(bytes),
        };
        check_aligned(buf.as_raw(), bytes, offset)?;
        let (result, mut buf) = self.inner.read(buf, bytes, offset).await;
        let count = result?;
        buf.zero_from(count);
        Ok((count, buf))
    }

    /// Makes all data of completed writes, and the length, durable. Writes still in flight may be missed.
    ///
    /// # Errors
    /// The disk's error; sticky, as for [`write_at`](Self::write_at).
    pub async fn fdatasync(&self) -> io::Result<()> {
        self.inner.sync(FileOp::Datasync).await
    }

    /// As [`fdatasync`](Self::fdatasync), with every attribute of the file.
    ///
    /// # Errors
    /// As [`fdatasync`](Self::fdatasync).
    pub async fn sync_all(&self) -> io::Result<()> {
        self.inner.sync(FileOp::Sync).await
    }

    /// Reserves space for `bytes` bytes at `offset`, extending the file with zeros where it is shorter.
    ///
    /// # Errors
    /// The disk's error, `StorageFull` in particular. Not sticky.
    pub async fn allocate(&self, offset: u64, bytes: u64) -> io::Result<()> {
        self.inner.submit(FileOp::Allocate { offset, bytes }).await.result.map(drop)
    }

    /// Sets the length to `bytes`.
    ///
    /// # Errors
    /// The disk's error. Not sticky.
    pub async fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.inner.submit(FileOp::Truncate { bytes }).await.result.map(drop)
    }

    /// The length in bytes.
    ///
    /// # Errors
    /// The disk's error.
    pub async fn len(&self) -> io::Result<u64> {
        self.inner.submit(FileOp::Len).await.result
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("failed", &self.inner.failed).finish_non_exhaustive()
    }
}

impl FileInner {
    async fn write_all(self: &Rc<Self>, buf: WriteBuf, offset: u64) -> (io::Result<()>, WriteBuf) {
        if let Err(error) = check_aligned(buf.as_ptr(), buf.len(), offset).and_then(|()| self.check_failed()) {
            return (Err(error), buf);
        }
        let mut buf = buf;
        let mut start = 0;
        let mut stalled = 0;
        while start < buf.len() {
            let done = self.submit(FileOp::Write { buf, start, offset: offset + start as u64 }).await;
            let FileBuf::Write(returned) = done.buf else {
                unreachable!("a write gave back another operation's memory")
            };
            buf = returned;
            let error = match done.result {
                Ok(count) => {
                    // A count inside a block: that block is written again, since transfers begin at blocks.
                    let count = usize::try_from(count).unwrap_or(0).min(buf.len() - start);
                    let whole = if start + count == buf.len() { count } else { count - count % ALIGN };
                    start += whole;
                    stalled = if whole > 0 { 0 } else { stalled + 1 };
                    (stalled >= STALLED_WRITES_MAX).then(|| io::Error::from(io::ErrorKind::WriteZero))
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
                Err(error) => Some(error),
            };
            if let Some(error) = error {
                // For want of space nothing of the range is promised, and that is known: it may be written again.
                if error.kind() != io::ErrorKind::StorageFull {
                    self.poison(&error);
                }
                return (Err(error), buf);
            }
        }
        // Another write may have failed meanwhile; this one has succeeded all the same.
        (Ok(()), buf)
    }

    /// One vectored write; what it leaves over, after a short write or in the simulator, goes part by part.
    async fn write_parts(self: &Rc<Self>, parts: Vec<SharedSlice>, offset: u64) -> io::Result<()> {
        for part in &parts {
            check_aligned(part.as_ptr(), part.len(), offset)?;
        }
        let mut parts = parts;
        let mut written = 0;
        if parts.len() > 1
            && let Handle::Ring { driver, file: Some(file) } = &self.handle
        {
            self.check_failed()?;
            let vectors = parts
                .iter()
                .take(VECTORS_MAX)
                .map(|part| libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() });
            let write = Box::new(WriteParts { vectors: vectors.collect(), parts });
            let count = u32::try_from(write.vectors.len()).unwrap_or(u32::MAX);
            let entry = opcode::Writev::new(Fd(file.as_raw_fd()), write.vectors.as_ptr(), count).offset(offset).build();
            let (result, keep) = run(driver, entry, Keep::FileWriteParts { write, file: Rc::clone(self) }).await;
            let Keep::FileWriteParts { write, .. } = keep else {
                unreachable!("a write gave back another operation's memory")
            };
            parts = write.parts;
            match result {
                Ok(count) => written = usize::try_from(count).unwrap_or(0) / ALIGN * ALIGN,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // As in `write_all`: what found no space may be written again.
                    if error.kind() != io::ErrorKind::StorageFull {
                        self.poison(&error);
                    }
                    return Err(error);
                }
            }
        }
        let mut begin = 0;
        for part in parts {
            let end = begin + part.len();
            if end > written {
                let rest = part.slice(written.max(begin) - begin..part.len());
                let (result, _) = self.write_all(WriteBuf::Shared(rest), offset + written.max(begin) as u64).await;
                result?;
            }
            begin = end;
        }
        Ok(())
    }

    async fn read(self: &Rc<Self>, buf: AlignedBuf, bytes: usize, offset: u64) -> (io::Result<usize>, AlignedBuf) {
        let done = self.submit(FileOp::Read { buf, bytes, offset }).await;
        let FileBuf::Read(buf) = done.buf else { unreachable!("a read gave back another operation's memory") };
        (done.result.map(|count| usize::try_from(count).unwrap_or(0).min(bytes)), buf)
    }

    async fn sync(self: &Rc<Self>, op: FileOp) -> io::Result<()> {
        self.check_failed()?;
        let result = self.submit(op).await.result.map(drop);
        if let Err(error) = &result {
            self.poison(error);
        }
        result
    }

    /// Every later write and sync fails as this one did.
    pub(crate) fn poison(&self, error: &io::Error) {
        // The end of the run is no failure of the disk.
        if self.failed.get().is_none() && error.kind() != io::ErrorKind::NotConnected {
            self.failed.set(Some(Failure { kind: error.kind(), code: error.raw_os_error() }));
        }
    }

    fn check_failed(&self) -> io::Result<()> {
        match self.failed.get() {
            None => Ok(()),
            Some(Failure { code: Some(code), .. }) => Err(io::Error::from_raw_os_error(code)),
            Some(Failure { kind, code: None }) => Err(kind.into()),
        }
    }

    /// One operation, by whatever driver there is.
    async fn submit(self: &Rc<Self>, op: FileOp) -> FileDone {
        match (&self.handle, &self.core.driver) {
            (Handle::Ring { driver, file: Some(file) }, _) => self.submit_to_ring(driver, file, op).await,
            (Handle::Sim(file), Driver::Sim(sim)) => {
                let (sender, receiver) = oneshot::channel();
                sim.file(*file, op, sender);
                receiver.await.unwrap_or_else(|_| unreachable!("the simulator forgot a file operation"))
            }
            _ => unreachable!("a file outlives its driver's kind"),
        }
    }

    async fn submit_to_ring(
        self: &Rc<Self>,
        driver: &Rc<RingDriver>,
        file: &Arc<std::fs::File>,
        op: FileOp,
    ) -> FileDone {
        let fd = Fd(file.as_raw_fd());
        match op {
            FileOp::Read { buf, bytes, offset } => self.read_on_ring(driver, fd, buf, bytes, offset).await,
            FileOp::Write { buf, start, offset } => {
                let length = (buf.len() - start).min(TRANSFER_BYTES_MAX);
                let entry = opcode::Write::new(fd, buf[start..].as_ptr(), length as u32).offset(offset).build();
                let (result, keep) = run(driver, entry, Keep::FileWrite { buf, file: Rc::clone(self) }).await;
                let Keep::FileWrite { buf, .. } = keep else {
                    unreachable!("a write gave back another operation's memory")
                };
                FileDone { result, buf: FileBuf::Write(buf) }
            }
            FileOp::Datasync => {
                self.sync_on_ring(driver, opcode::Fsync::new(fd).flags(FsyncFlags::DATASYNC).build()).await
            }
            FileOp::Sync => self.sync_on_ring(driver, opcode::Fsync::new(fd).build()).await,
            FileOp::Allocate { offset, bytes } => {
                self.on_helper(driver, file, move |file| sys::allocate(file.as_fd(), offset, bytes).map(|()| 0)).await
            }
            FileOp::Truncate { bytes } => {
                self.on_helper(driver, file, move |file| file.set_len(bytes).map(|()| 0)).await
            }
            FileOp::Len => self.on_helper(driver, file, |file| file.metadata().map(|metadata| metadata.len())).await,
        }
    }

    /// Reads until `bytes` are there or the file ends: the kernel may stop earlier, at a block.
    async fn read_on_ring(
        self: &Rc<Self>,
        driver: &Rc<RingDriver>,
        fd: Fd,
        buf: AlignedBuf,
        bytes: usize,
        offset: u64,
    ) -> FileDone {
        let mut buf = buf;
        let mut start = 0;
        let result = loop {
            let length = (bytes - start).min(TRANSFER_BYTES_MAX);
            if length == 0 {
                break Ok(start as u64);
            }
            // Within the buffer: `bytes` was checked against its length. No slice is made: its bytes may be unwritten yet.
            let target = buf.as_raw().wrapping_add(start);
            let entry = opcode::Read::new(fd, target, length as u32).offset(offset + start as u64).build();
            let (result, keep) = run(driver, entry, Keep::FileRead { buf, file: Rc::clone(self) }).await;
            let Keep::FileRead { buf: returned, .. } = keep else {
                unreachable!("a read gave back another operation's memory")
            };
            buf = returned;
            match result {
                Ok(count) => {
                    let count = usize::try_from(count).unwrap_or(0);
                    start += count;
                    // The file ends: nothing more, or inside a block.
                    if count == 0 || !count.is_multiple_of(ALIGN) {
                        break Ok(start as u64);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        FileDone { result, buf: FileBuf::Read(buf) }
    }

    async fn sync_on_ring(self: &Rc<Self>, driver: &Rc<RingDriver>, entry: Entry) -> FileDone {
        let (result, _keep) = run(driver, entry, Keep::FileSync { file: Rc::clone(self) }).await;
        FileDone { result, buf: FileBuf::None }
    }

    async fn on_helper(
        &self,
        driver: &Rc<RingDriver>,
        file: &Arc<std::fs::File>,
        action: impl FnOnce(&std::fs::File) -> io::Result<u64> + Send + 'static,
    ) -> FileDone {
        let _busy = driver.count_disk();
        let file = Arc::clone(file);
        FileDone { result: helper::call(move || action(&file)).await, buf: FileBuf::None }
    }
}

impl Drop for FileInner {
    fn drop(&mut self) {
        match &mut self.handle {
            Handle::Ring { file, .. } => {
                if let Some(file) = file.take() {
                    helper::drop_there(file);
                }
            }
            Handle::Sim(file) => {
                if let Driver::Sim(sim) = &self.core.driver {
                    sim.close(*file);
                }
            }
        }
    }
}

/// One disk operation on the ring.
async fn run(driver: &Rc<RingDriver>, entry: Entry, keep: Keep) -> (io::Result<u64>, Keep) {
    let (result, keep) = match driver.start(entry, keep, true) {
        Ok(op) => op.await,
        Err((error, keep)) => return (Err(error), keep),
    };
    (u64::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result)), keep)
}

fn check_aligned(address: *const u8, bytes: usize, offset: u64) -> io::Result<()> {
    let aligned =
        address.addr().is_multiple_of(ALIGN) && bytes.is_multiple_of(ALIGN) && offset.is_multiple_of(ALIGN as u64);
    if aligned {
        return Ok(());
    }
    let text = format!(
        "direct I/O of {bytes} bytes at offset {offset}: address, length and offset must be multiples of {ALIGN}"
    );
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}
