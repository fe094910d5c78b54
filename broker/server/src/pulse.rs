//! Whether the loop of every shard still turns, asked from a thread that has no ring. Owns the question and who owes an answer.
//!
//! Each shard answers from a task of its own, from its first moment to its last: a long recovery or a stop that waits for
//! requests holds up no answer, a loop that hangs does. An answer says nothing of the disk; a failed write says so itself.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use ouzel_runtime::{Mailbox, Shard};

/// The question; the answer goes to whoever asked.
pub(crate) type Question = mpsc::Sender<()>;

/// Why the shards did not all answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPulse {
    /// These have not answered yet; they are not asked again before they do.
    #[error("no answer from shard(s) {shards:?}")]
    Silent {
        /// By index.
        shards: Vec<u16>,
    },
    /// A shard has ended, and the broker with it.
    #[error("shard {shard} has ended")]
    Ended {
        /// Its index.
        shard: u16,
    },
}

/// Asks all shards of a broker, again and again.
#[derive(Debug)]
pub struct Pulse {
    shards: Vec<Asked>,
}

#[derive(Debug)]
struct Asked {
    index: u16,
    questions: Mailbox<Question>,
    /// The answer that is still owed.
    owed: Option<mpsc::Receiver<()>>,
}

impl Pulse {
    pub(crate) fn new(shards: impl Iterator<Item = (u16, Mailbox<Question>)>) -> Self {
        Self { shards: shards.map(|(index, questions)| Asked { index, questions, owed: None }).collect() }
    }

    /// Asks every shard and waits until all have answered, for `wait` at most. Blocks the calling thread.
    ///
    /// # Errors
    /// [`NoPulse`]: which did not (us, or a host that stops its processes).
    pub fn beat(&mut self, wait: Duration) -> Result<(), NoPulse> {
        for shard in &mut self.shards {
            if shard.owed.is_none() {
                let (question, answer) = mpsc::channel();
                if shard.questions.send(question).is_err() {
                    return Err(NoPulse::Ended { shard: shard.index });
                }
                shard.owed = Some(answer);
            }
        }
        let deadline = Instant::now() + wait;
        let mut silent = Vec::new();
        for shard in &mut self.shards {
            let Some(answer) = &shard.owed else { continue };
            match answer.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(()) => shard.owed = None,
                Err(RecvTimeoutError::Timeout) => silent.push(shard.index),
                Err(RecvTimeoutError::Disconnected) => return Err(NoPulse::Ended { shard: shard.index }),
            }
        }
        if silent.is_empty() { Ok(()) } else { Err(NoPulse::Silent { shards: silent }) }
    }
}

/// Lets this shard answer for as long as it runs.
pub(crate) fn answer(shard: &Shard) -> Mailbox<Question> {
    let (questions, mut inbox) = shard.mailbox::<Question>(1);
    drop(shard.spawn(async move {
        while let Some(question) = inbox.recv().await {
            // Whoever asked may have given up.
            let _ = question.send(());
        }
    }));
    questions
}
