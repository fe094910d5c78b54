//! `ouzel produce`: a record for each line of stdin. Owns the way from a line to a record; batching, order and retries
//! are the client's. The lines come from a thread of their own, the rest runs on the CLI's main thread.

use std::io::IsTerminal;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use ouzel_client::{Acks, ClientError, PartitionIndex, ProducerConfig, Record};
use ouzel_protocol::check_topic_name;
use serde_json::json;

use crate::args::{AcksArg, GlobalArgs, ProduceArgs};
use crate::connect::{block_on, connect};
use crate::lines::{read_lines, split_key};
use crate::output::print_json;

/// Lines between two looks at the progress line.
const DRAW_EVERY: u64 = 4096;

/// Sends every line and waits until all are acknowledged.
pub(crate) fn run(args: ProduceArgs, global: &GlobalArgs) -> Result<()> {
    check_topic_name(&args.topic)?;
    let sent = block_on(send_lines(&args, global))?;
    if global.json {
        return print_json(&json!({ "topic": args.topic, "records": sent }));
    }
    Ok(())
}

async fn send_lines(args: &ProduceArgs, global: &GlobalArgs) -> Result<u64> {
    let client = connect(global).await?;
    // An unknown topic is refused before a line is read: an interactive user learns it before typing.
    let topic = client.admin().describe_topic(&args.topic).await?;
    let partition = args.partition.map(PartitionIndex);
    if let Some(partition) = partition
        && partition.0 as usize >= topic.partitions.len()
    {
        let count = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
        return Err(ClientError::UnknownPartition { topic: args.topic.clone(), partition, count }.into());
    }
    let producer = client.producer(ProducerConfig {
        acks: match args.acks {
            AcksArg::All => Acks::All,
            AcksArg::Leader => Acks::One,
            AcksArg::None => Acks::Zero,
        },
        compression: args.compression.codec(),
        idempotence: !args.no_idempotence,
        ..ProducerConfig::default()
    })?;

    let bar = progress_bar();
    let mut lines = read_lines(std::io::stdin());
    let mut sent: u64 = 0;
    while let Some(chunk) = lines.recv().await {
        for line in chunk?.lines() {
            let number = sent + 1;
            let mut record = Record::to(&args.topic);
            record.partition = partition;
            record = match &args.key_separator {
                None => record.value(line),
                Some(separator) => {
                    let Some((key, value)) = split_key(line, separator.as_bytes()) else {
                        // What came before is kept; the producer delivers it before the line is refused.
                        producer.flush().await?;
                        bail!("line {number} has no key separator `{separator}`; the {sent} lines before it were sent");
                    };
                    record.key(key).value(value)
                }
            };
            producer.enqueue(record).await.with_context(|| format!("cannot send line {number}"))?;
            sent = number;
            if sent.is_multiple_of(DRAW_EVERY) {
                bar.set_position(sent);
            }
        }
    }
    bar.set_position(sent);
    producer.flush().await?;
    bar.finish_and_clear();
    Ok(sent)
}

/// Counts lines on stderr; hides itself where that is not a terminal.
fn progress_bar() -> ProgressBar {
    if std::io::stdin().is_terminal() {
        // Somebody is typing there.
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {human_pos} lines, {per_sec}");
    bar.set_style(style.expect("a constant template"));
    bar
}
