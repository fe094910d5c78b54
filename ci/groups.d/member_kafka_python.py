"""Members of kafka-python. Arguments: bootstrap address."""
import logging
import time

from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from kafka.errors import KafkaConnectionError, KafkaError

from member import BOOTSTRAP, host, parts_of, place_of

# What the client does in a group is told by it best; it goes to the log of the process.
logging.basicConfig(format="%(relativeCreated)d %(threadName)s %(message)s")
logging.getLogger("kafka.coordinator").setLevel(logging.INFO)

# It begins anew with a join that has not ended within a poll, and a leader that joins twice makes everybody join again.
POLL_MS = 1000

ASSIGNORS = {"range": RangePartitionAssignor, "roundrobin": RoundRobinPartitionAssignor, "cooperative": CooperativeStickyAssignor}


class Listener(AsyncConsumerRebalanceListener):
    """Awaited by the client within its own loop, where a commit must be awaited too: it has no public call for that."""

    def __init__(self, consumer, ledger):
        self.consumer, self.ledger = consumer, ledger

    async def on_partitions_assigned(self, assigned):
        self.ledger.owns(self.ledger.owned | {place_of(*p) for p in assigned}, self.consumer.group_metadata().generation_id)

    async def on_partitions_revoked(self, revoked):
        gone = {place_of(*p) for p in revoked}
        offsets = self.ledger.uncommitted(gone)
        if offsets:
            try:
                await self.consumer._coordinator._commit_offsets_sync_async(spelled(offsets), 10_000)
                self.ledger.acked(offsets)
            except KafkaError as error:
                self.ledger.say("refused", why=f"{type(error).__name__}: {error}")
        self.ledger.owns(self.ledger.owned - gone)

    async def on_partitions_lost(self, lost):
        self.ledger.owns(self.ledger.owned - {place_of(*p) for p in lost})


def spelled(offsets):
    return {TopicPartition(*parts_of(place)): OffsetAndMetadata(at, "", -1) for place, at in offsets.items()}


def run(settings, ledger, closing):
    consumer = KafkaConsumer(bootstrap_servers=BOOTSTRAP, group_id=settings["group"], client_id=settings["name"], enable_auto_commit=False,
                             auto_offset_reset="earliest", session_timeout_ms=settings["session_ms"], heartbeat_interval_ms=500,
                             fetch_max_wait_ms=100, metadata_max_age_ms=2000, reconnect_backoff_max_ms=500, group_instance_id=settings.get("instance"),
                             partition_assignment_strategy=(ASSIGNORS[settings.get("assignor") or "range"],))

    def commit():
        offsets = ledger.uncommitted(ledger.owned)
        if not offsets:
            return
        try:
            consumer.commit(spelled(offsets))
            ledger.acked(offsets)
        except KafkaError as error:
            ledger.say("refused", why=f"{type(error).__name__}: {error}")

    for topic in settings["topics"]:
        # Known before it joins. Else the first generation assigns nothing, all join again as soon as they know, and in the middle of that
        # this client (3.0.12) at times stands still for good between the reply to its SyncGroup and its assignment.
        consumer.partitions_for_topic(topic)
    consumer.subscribe(settings["topics"], listener=Listener(consumer, ledger))
    committed_at = time.monotonic()
    while not closing.is_set():
        try:
            polled = consumer.poll(timeout_ms=POLL_MS)
        except KafkaConnectionError as error:
            # It tells its user that the broker is away; to ask again is the user's part.
            ledger.say("refused", why=f"{type(error).__name__}: {error}")
            time.sleep(POLL_MS / 1000)
            continue
        for records in polled.values():
            for record in records:
                ledger.record(record.topic, record.partition, record.offset)
        ledger.flush()
        if time.monotonic() - committed_at >= settings["commit_ms"] / 1000:
            commit()
            committed_at = time.monotonic()
    commit()
    ledger.owns([])
    consumer.close()
    if ledger.owned:
        # A rebalance that was on its way gave it something, which it left at once.
        ledger.owns([])


host(run)
