//! `ouzel consume`: a line for each record. Owns where to start, when to end, and how a record looks; fetching is the
//! client's. Runs on the CLI's main thread.

use std::time::Duration;

use anyhow::{Result, bail};
use ouzel_client::{
    Client, ClientError, ConsumedRecord, Consumer, ConsumerConfig, GroupConsumer, GroupConsumerConfig, Offset,
    OutOfRange, PartitionIndex, Partitions, StartAt, Subscription,
};
use ouzel_protocol::check_topic_name;
use serde_json::{Map, Value, json};

use crate::args::{ConsumeArgs, FormatArg, FromArg, GlobalArgs};
use crate::connect::{block_on, connect};
use crate::output::Output;

/// Why reading ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Counted,
    TimedOut,
    Interrupted,
}

/// Prints records until there are enough, none come any more, or Ctrl-C.
pub(crate) fn run(mut args: ConsumeArgs, global: &GlobalArgs) -> Result<()> {
    check_topic_name(&args.topic)?;
    if args.group.is_some() && !matches!(args.from, FromArg::Earliest | FromArg::Latest) {
        bail!(
            "a group goes on where it has committed: --from earliest or latest is for what it has not, and \
               `ouzel group reset-offsets` moves it"
        );
    }
    if matches!(args.from, FromArg::Offset(_)) && args.partition.is_none() {
        bail!("an offset belongs to one partition: name it with --partition, or start at earliest, latest or a time");
    }
    if global.json {
        args.format = FormatArg::Json;
    }
    let mut output = Output::new();
    let (end, printed) = block_on(async {
        let client = connect(global).await?;
        let mut source = match &args.group {
            Some(group) => member_of(&client, group, &args).await?,
            None => Source::Alone(assigned(&client, &args).await?),
        };
        let mut printed = 0;
        let end = tokio::select! {
            end = print_records(&args, &mut source, &mut output, &mut printed) => end?,
            // Without a handler Ctrl-C ends the process all the same, only less tidily.
            _ = tokio::signal::ctrl_c() => End::Interrupted,
        };
        // Nothing is committed that is not printed.
        output.flush()?;
        if let Source::Member(consumer) = source {
            consumer.close().await?;
        }
        Ok((end, printed))
    })?;
    match (end, args.count) {
        (End::TimedOut, Some(count)) => {
            let timeout_ms = args.timeout_ms.unwrap_or_default();
            bail!("{printed} of {count} records came from topic {}, then none for {timeout_ms} ms", args.topic)
        }
        _ => Ok(()),
    }
}

/// Where records come from.
enum Source {
    /// Partitions of one's own choice.
    Alone(Consumer),
    /// Those that a group's coordinator assigns.
    Member(Box<GroupConsumer>),
}

impl Source {
    async fn next(&mut self) -> Result<ConsumedRecord, ClientError> {
        match self {
            Source::Alone(consumer) => consumer.next().await,
            Source::Member(consumer) => consumer.recv().await,
        }
    }
}

async fn assigned(client: &Client, args: &ConsumeArgs) -> Result<Consumer> {
    let mut consumer = client.consumer(ConsumerConfig::default())?;
    let partitions = match args.partition {
        Some(partition) => Partitions::Only(vec![PartitionIndex(partition)]),
        None => Partitions::All,
    };
    let start = match args.from {
        FromArg::Earliest => StartAt::Earliest,
        FromArg::Latest => StartAt::Latest,
        FromArg::Offset(offset) => StartAt::Offset(Offset(offset)),
        FromArg::Timestamp(timestamp) => StartAt::Timestamp(timestamp),
    };
    consumer.assign(&args.topic, partitions, start).await?;
    Ok(consumer)
}

async fn member_of(client: &Client, group: &str, args: &ConsumeArgs) -> Result<Source> {
    // A member would wait for a topic that is not there: a person has misspelt it.
    client.admin().partition_count(&args.topic).await?;
    let offset_reset = if args.from == FromArg::Earliest { OutOfRange::Earliest } else { OutOfRange::Latest };
    let subscription = Subscription::topics([&args.topic]);
    let config = GroupConsumerConfig { offset_reset, ..GroupConsumerConfig::new(group, subscription) };
    Ok(Source::Member(Box::new(client.group_consumer(config)?)))
}

async fn print_records(args: &ConsumeArgs, source: &mut Source, output: &mut Output, printed: &mut u64) -> Result<End> {
    let timeout = args.timeout_ms.map(Duration::from_millis);
    let mut line = Vec::new();
    while args.count.is_none_or(|count| *printed < count) {
        let at_hand = tokio::select! {
            biased;
            record = source.next() => Some(record?),
            () = std::future::ready(()) => None,
        };
        let record = match at_hand {
            Some(record) => record,
            None => {
                // Nothing waits: whoever reads our output sees what came so far.
                if output.is_dirty() {
                    output.flush()?;
                }
                match timeout {
                    None => source.next().await?,
                    Some(timeout) => match tokio::time::timeout(timeout, source.next()).await {
                        Ok(record) => record?,
                        Err(_) => return Ok(End::TimedOut),
                    },
                }
            }
        };
        line.clear();
        format(&record, args, &mut line)?;
        output.write(&line)?;
        *printed += 1;
    }
    Ok(End::Counted)
}

/// Writes a record and a newline.
fn format(record: &ConsumedRecord, args: &ConsumeArgs, line: &mut Vec<u8>) -> Result<()> {
    let (key, value) = (record.key.as_deref(), record.value.as_deref());
    match args.format {
        FormatArg::Value => line.extend_from_slice(value.unwrap_or_default()),
        FormatArg::KeyValue => {
            line.extend_from_slice(key.unwrap_or_default());
            line.push(b'\t');
            line.extend_from_slice(value.unwrap_or_default());
        }
        FormatArg::Json => {
            let mut object = Map::new();
            object.insert("topic".to_string(), args.topic.clone().into());
            object.insert("partition".to_string(), record.partition.0.into());
            object.insert("offset".to_string(), record.offset.0.into());
            object.insert("timestamp".to_string(), record.timestamp.into());
            insert_bytes(&mut object, "key", key);
            insert_bytes(&mut object, "value", value);
            let headers: Vec<Value> = record
                .headers
                .iter()
                .map(|header| {
                    let mut object = Map::new();
                    object.insert("name".to_string(), json!(String::from_utf8_lossy(header.key.as_ref())));
                    insert_bytes(&mut object, "value", header.value.as_deref());
                    Value::Object(object)
                })
                .collect();
            object.insert("headers".to_string(), headers.into());
            serde_json::to_writer(&mut *line, &object)?;
        }
    }
    line.push(b'\n');
    Ok(())
}

/// Text as text; bytes that are none in hexadecimal, under a name that says so, so that nothing is lost.
fn insert_bytes(object: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(std::str::from_utf8) {
        None => object.insert(name.to_string(), Value::Null),
        Some(Ok(text)) => object.insert(name.to_string(), text.into()),
        Some(Err(_)) => {
            let hex: String = bytes.unwrap_or_default().iter().map(|byte| format!("{byte:02x}")).collect();
            object.insert(format!("{name}_hex"), hex.into())
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_shown_in_hexadecimal() {
        let mut object = Map::new();
        insert_bytes(&mut object, "a", Some(b"tea"));
        insert_bytes(&mut object, "b", Some(&[0xff, 0x01]));
        insert_bytes(&mut object, "c", None);
        assert_eq!(Value::Object(object), json!({ "a": "tea", "b_hex": "ff01", "c": null }));
    }
}
