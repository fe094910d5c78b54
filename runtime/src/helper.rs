//! The node's one helper thread for calls that may block: open, unlink, rename, truncate, fallocate, close. Process-wide,
//! started at first use. Keeps no state of the callers; results travel back by a remote oneshot.

use std::io;
use std::sync::{Mutex, PoisonError, mpsc};

use crate::sync::remote_oneshot;

type Job = Box<dyn FnOnce() + Send>;

static QUEUE: Mutex<Option<mpsc::Sender<Job>>> = Mutex::new(None);

/// Runs `job` on the helper thread, after those given to it before.
fn submit(job: Job) -> io::Result<()> {
    let mut queue = QUEUE.lock().unwrap_or_else(PoisonError::into_inner);
    let job = match queue.as_ref() {
        None => job,
        Some(sender) => match sender.send(job) {
            Ok(()) => return Ok(()),
            // The thread is gone: a job of a test panicked.
            Err(mpsc::SendError(job)) => job,
        },
    };
    let (sender, receiver) = mpsc::channel::<Job>();
    std::thread::Builder::new()
        .name("ouzel-helper".into())
        .spawn(move || receiver.into_iter().for_each(|job| job()))?;
    sender.send(job).map_err(|_| io::Error::other("the helper thread ended at once"))?;
    *queue = Some(sender);
    Ok(())
}

/// Runs `action` on the helper thread and waits for its result. Dropping the future does not stop the action.
pub(crate) async fn call<T: Send + 'static>(action: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    let (sender, receiver) = remote_oneshot::channel();
    submit(Box::new(move || {
        // The caller may have gone away.
        drop(sender.send(action()));
    }))?;
    receiver.await.unwrap_or_else(|_| Err(io::Error::other("the helper thread died")))
}

/// As [`call`], on a thread of its own: for what may take so long that files could not be opened meanwhile.
pub(crate) async fn call_apart<T: Send + 'static>(
    action: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (sender, receiver) = remote_oneshot::channel();
    std::thread::Builder::new().name("ouzel-apart".into()).spawn(move || drop(sender.send(action())))?;
    receiver.await.unwrap_or_else(|_| Err(io::Error::other("the thread of a call died")))
}

/// Drops `value` on the helper thread, because that may block (the last handle of a deleted file). Here, if there is none.
pub(crate) fn drop_there<T: Send + 'static>(value: T) {
    if let Err(error) = submit(Box::new(move || drop(value))) {
        tracing::warn!(%error, "no helper thread; a file was closed on its shard");
    }
}
