"""Members of aiokafka: all of one process in one loop, so that many of them cost little. Arguments: bootstrap address."""
import asyncio
import threading
import time

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import KafkaError

from member import BOOTSTRAP, POLL_S, host, parts_of, place_of

ASSIGNORS = {"range": RangePartitionAssignor, "roundrobin": RoundRobinPartitionAssignor}


class Listener(ConsumerRebalanceListener):
    def __init__(self, member):
        self.member = member

    async def on_partitions_assigned(self, assigned):
        generation = self.member.consumer._coordinator.generation
        self.member.ledger.owns(self.member.ledger.owned | {place_of(*p) for p in assigned}, generation)

    async def on_partitions_revoked(self, revoked):
        gone = {place_of(*p) for p in revoked}
        await self.member.commit(gone)
        self.member.ledger.owns(self.member.ledger.owned - gone)


class Member:
    def __init__(self, settings, ledger):
        self.settings, self.ledger, self.consumer = settings, ledger, None
        # One commit at a time: an older one must not be told after a newer one.
        self.committing = asyncio.Lock()

    async def commit(self, places):
        async with self.committing:
            offsets = self.ledger.uncommitted(places)
            if not offsets:
                return
            try:
                await self.consumer.commit({TopicPartition(*parts_of(place)): at for place, at in offsets.items()})
                self.ledger.acked(offsets)
            except KafkaError as error:
                self.ledger.say("refused", why=f"{type(error).__name__}: {error}")

    async def run(self, closing):
        settings = self.settings
        self.consumer = AIOKafkaConsumer(
            bootstrap_servers=BOOTSTRAP, group_id=settings["group"], client_id=settings["name"], enable_auto_commit=False,
            auto_offset_reset="earliest", session_timeout_ms=settings["session_ms"], heartbeat_interval_ms=500, fetch_max_wait_ms=100, metadata_max_age_ms=2000,
            group_instance_id=settings.get("instance"), partition_assignment_strategy=(ASSIGNORS[settings.get("assignor") or "range"],))
        self.consumer.subscribe(settings["topics"], listener=Listener(self))
        await self.consumer.start()
        committed_at = time.monotonic()
        while not closing.is_set():
            for records in (await self.consumer.getmany(timeout_ms=int(POLL_S * 1000), max_records=500)).values():
                for record in records:
                    # Handed out a moment before the partition was given away: whoever has it then reads it.
                    if place_of(record.topic, record.partition) in self.ledger.owned:
                        self.ledger.record(record.topic, record.partition, record.offset)
            self.ledger.flush()
            if time.monotonic() - committed_at >= settings["commit_ms"] / 1000:
                await self.commit(self.ledger.owned)
                committed_at = time.monotonic()
        await self.commit(self.ledger.owned)
        self.ledger.owns([])
        await self.consumer.stop()
        if self.ledger.owned:
            # A rebalance that was on its way gave it something, which it left at once.
            self.ledger.owns([])


loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()


def run(settings, ledger, closing):
    async def one():
        await Member(settings, ledger).run(closing)

    asyncio.run_coroutine_threadsafe(one(), loop).result()


host(run)
