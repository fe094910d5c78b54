//! The loop that reads from a broker. Owns the fetch requests of one connection, one outstanding for each group of
//! partitions; never decides where to read or what is right: its sink does. Runs on the generator's thread.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use ouzel_protocol::native::{Api, FetchPartition, FetchReply, FetchRequest, request_frame};
use ouzel_protocol::{CorrelationId, ErrorCode, Offset, PartitionIndex, TopicId};

use crate::load::Run;
use crate::topic::Lane;
use crate::wire::{FrameWriter, Wire, check_whole};

/// Pause after a refused fetch: the sink may want to go on, but not in a tight loop.
const REFUSED_PAUSE: Duration = Duration::from_millis(50);

/// How a lane fetches.
#[derive(Clone, Copy, Debug)]
pub struct FetchSettings {
    /// The topic.
    pub topic_id: TopicId,
    /// Most bytes of one reply.
    pub bytes_max: u32,
    /// How long the broker may hold a request for which it has nothing.
    pub wait_ms_max: u32,
}

/// Where records go, and what says where to read next.
pub trait FetchSink {
    /// Next offset to read of a partition; `None` if nothing more is wanted from it.
    fn position(&mut self, partition: PartitionIndex) -> Option<Offset>;
    /// Batches of a partition, as they came; the first may start before the position.
    ///
    /// # Errors
    /// The bytes are no batches.
    fn receive(&mut self, partition: PartitionIndex, records: &[u8], sent: Instant, now: Instant) -> Result<()>;
    /// The broker refused a partition.
    fn refused(&mut self, partition: PartitionIndex, error: ErrorCode);
}

/// Reads over one connection until the sink wants nothing more.
///
/// # Errors
/// The connection broke, or the broker refused a whole request.
pub async fn fetch_lane(
    run: Rc<Run>,
    (lane, wire): (Lane, Wire),
    settings: FetchSettings,
    sink: impl FetchSink,
) -> Result<()> {
    let address = lane.address.clone();
    fetch(run, lane, wire, settings, sink).await.with_context(|| format!("fetch from {address}"))
}

async fn fetch(run: Rc<Run>, lane: Lane, wire: Wire, settings: FetchSettings, mut sink: impl FetchSink) -> Result<()> {
    let Wire { mut reader, mut writer, .. } = wire;
    let groups_count = lane.in_flight.min(lane.partitions.len()).max(1);
    let groups: Vec<Vec<PartitionIndex>> = (0..groups_count)
        .map(|group| lane.partitions.iter().copied().skip(group).step_by(groups_count).collect())
        .collect();
    let mut sent_at = vec![Instant::now(); groups_count];
    let mut outstanding = 0;
    for (index, group) in groups.iter().enumerate() {
        sent_at[index] = Instant::now();
        outstanding += usize::from(request(&mut writer, settings, index, group, &mut sink).await?);
    }
    while outstanding > 0 {
        let Some((header, body)) = reader.next().await? else {
            bail!("the broker closed the connection with {outstanding} fetches outstanding");
        };
        let now = Instant::now();
        check_whole(&header, &body)?;
        if header.api != Api::Fetch {
            bail!("the broker answered {:?} to a fetch", header.api);
        }
        let index = usize::try_from(header.correlation.0).unwrap_or(usize::MAX);
        let Some(group) = groups.get(index) else { bail!("the broker answered an unknown request") };
        outstanding -= 1;
        run.alive(now);
        let mut is_refused = false;
        for result in FetchReply::decode(body)?.partitions {
            if result.error != ErrorCode::None {
                is_refused = true;
                sink.refused(result.partition, result.error);
            }
            for records in &result.records {
                sink.receive(result.partition, records, sent_at[index], now)?;
            }
        }
        if is_refused {
            tokio::time::sleep(REFUSED_PAUSE).await;
        }
        sent_at[index] = Instant::now();
        outstanding += usize::from(request(&mut writer, settings, index, group, &mut sink).await?);
    }
    Ok(())
}

/// Sends the next request of a group; false if the sink wants nothing more from any of its partitions.
async fn request(
    writer: &mut FrameWriter,
    settings: FetchSettings,
    index: usize,
    group: &[PartitionIndex],
    sink: &mut impl FetchSink,
) -> Result<bool> {
    let partitions: Vec<FetchPartition> = group
        .iter()
        .filter_map(|partition| {
            let offset = sink.position(*partition)?;
            Some(FetchPartition {
                topic_id: settings.topic_id,
                partition: *partition,
                offset,
                max_bytes: settings.bytes_max,
            })
        })
        .collect();
    if partitions.is_empty() {
        return Ok(false);
    }
    let request =
        FetchRequest { max_wait_ms: settings.wait_ms_max, min_bytes: 1, max_bytes: settings.bytes_max, partitions };
    let frame = request_frame(Api::Fetch, CorrelationId(index as u64), |out| request.encode(out));
    writer.send(vec![Bytes::from(frame)]).await?;
    Ok(true)
}
