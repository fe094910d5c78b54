//! `ouzel topic`: creates, lists, describes, alters and deletes topics. Owns how they are shown; the broker decides what
//! is legal. Runs on the CLI's main thread.

use anyhow::Result;
use ouzel_client::{Admin, ErrorCode, NewTopic, TopicChange};
use ouzel_protocol::check_topic_name;
use serde_json::{Map, Value, json};

use crate::args::{GlobalArgs, TopicAlterArgs, TopicCommand, TopicCreateArgs};
use crate::connect::{block_on, connect};
use crate::output::{print_json, print_line, table};
use crate::units::human_bytes;

/// Does one thing to topics.
pub(crate) fn run(command: TopicCommand, global: &GlobalArgs) -> Result<()> {
    // What no broker could accept is refused without asking one.
    match &command {
        TopicCommand::List => {}
        TopicCommand::Create(args) => check_topic_name(&args.topic)?,
        TopicCommand::Alter(args) => check_topic_name(&args.topic)?,
        TopicCommand::Describe(args) | TopicCommand::Delete(args) => check_topic_name(&args.topic)?,
    }
    block_on(async {
        let admin = connect(global).await?.admin();
        match command {
            TopicCommand::List => list(&admin, global.json).await,
            TopicCommand::Create(args) => create(&admin, args, global.json).await,
            TopicCommand::Describe(args) => describe(&admin, &args.topic, global.json).await,
            TopicCommand::Alter(args) => alter(&admin, args, global.json).await,
            TopicCommand::Delete(args) => delete(&admin, &args.topic, global.json).await,
        }
    })
}

async fn list(admin: &Admin, json: bool) -> Result<()> {
    let mut topics = admin.list_topics().await?;
    topics.sort();
    if json {
        let topics: Vec<Value> = topics
            .iter()
            .map(|(name, topic_id, partitions)| {
                json!({ "topic": name, "topic_id": topic_id.to_string(), "partitions": partitions })
            })
            .collect();
        return print_json(&json!({ "topics": topics }));
    }
    let rows =
        topics.into_iter().map(|(name, topic_id, partitions)| vec![name, partitions.to_string(), topic_id.to_string()]);
    print_line(&table(&["topic", "partitions", "id"], &[1], rows))
}

async fn create(admin: &Admin, args: TopicCreateArgs, json: bool) -> Result<()> {
    let mut topic = NewTopic::named(&args.topic);
    if let Some(partitions) = args.partitions {
        topic = topic.partitions(partitions);
    }
    if let Some(replication_factor) = args.replication_factor {
        topic = topic.replication_factor(replication_factor);
    }
    for (key, value) in args.configs {
        topic = topic.config(key, value);
    }
    match admin.create_topic(topic).await {
        Ok(topic_id) if json => {
            print_json(&json!({ "topic": args.topic, "topic_id": topic_id.to_string(), "created": true }))
        }
        Ok(topic_id) => print_line(&format!("created topic {} ({topic_id})", args.topic)),
        Err(error) if args.if_not_exists && error.code() == Some(ErrorCode::TopicAlreadyExists) => {
            if json {
                return print_json(&json!({ "topic": args.topic, "created": false }));
            }
            print_line(&format!("topic {} is there already", args.topic))
        }
        Err(error) => Err(error.into()),
    }
}

async fn describe(admin: &Admin, name: &str, json: bool) -> Result<()> {
    let topic = admin.describe_topic(name).await?;
    if json {
        let partitions: Vec<Value> = topic
            .partitions
            .iter()
            .map(|partition| {
                json!({
                    "partition": partition.index.0,
                    "shard": partition.shard.0,
                    "leader": partition.leader.map(|node| node.0),
                    "leader_epoch": partition.leader_epoch.0,
                    "log_start_offset": partition.log_start.0,
                    "end_offset": partition.end_offset.0,
                    "bytes": partition.bytes,
                    "state": partition.state,
                })
            })
            .collect();
        let configs: Map<String, Value> =
            topic.configs.iter().map(|(key, value, _)| (key.clone(), value.clone().into())).collect();
        return print_json(&json!({
            "topic": topic.name,
            "topic_id": topic.topic_id.to_string(),
            "configs": configs,
            "partitions": partitions,
        }));
    }
    let rows = topic.partitions.iter().map(|partition| {
        vec![
            partition.index.to_string(),
            partition.shard.to_string(),
            partition.leader.map_or_else(|| "-".to_string(), |node| node.to_string()),
            partition.leader_epoch.to_string(),
            partition.log_start.to_string(),
            partition.end_offset.to_string(),
            human_bytes(partition.bytes),
            partition.state.clone(),
        ]
    });
    let header = ["partition", "shard", "leader", "epoch", "log start", "end", "bytes", "state"];
    let partitions = table(&header, &[0, 1, 2, 3, 4, 5, 6], rows);
    let configs = topic.configs.iter().map(|(key, value, is_default)| {
        let source = if *is_default { "default" } else { "topic" };
        vec![key.clone(), value.clone(), source.to_string()]
    });
    let configs = table(&["config", "value", "from"], &[], configs);
    print_line(&format!("{} ({})\n\n{partitions}\n\n{configs}", topic.name, topic.topic_id))
}

async fn alter(admin: &Admin, args: TopicAlterArgs, json: bool) -> Result<()> {
    let reset_if_empty = |(key, value): (String, String)| (key, Some(value).filter(|value| !value.is_empty()));
    let configs = args.configs.into_iter().map(reset_if_empty).collect();
    admin.alter_topic(&args.topic, TopicChange { partitions: args.partitions, configs }).await?;
    if json {
        return print_json(&json!({ "topic": args.topic, "altered": true }));
    }
    print_line(&format!("altered topic {}", args.topic))
}

async fn delete(admin: &Admin, name: &str, json: bool) -> Result<()> {
    admin.delete_topic(name).await?;
    if json {
        return print_json(&json!({ "topic": name, "deleted": true }));
    }
    print_line(&format!("deleted topic {name}"))
}
