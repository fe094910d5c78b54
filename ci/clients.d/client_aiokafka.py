"""aiokafka. Arguments: bootstrap address."""
import asyncio
import sys
import time

import aiokafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from records import Digests, record
from serve import Refused, Unsupported, serve

BOOTSTRAP = sys.argv[1]


def blocking(method):
    """The loop runs only while a command does."""
    return lambda self, **arguments: self.loop.run_until_complete(method(self, **arguments))


class Verbs:
    def __init__(self):
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.admin = self.loop.run_until_complete(self.started_admin())

    async def started_admin(self):
        admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
        await admin.start()
        return admin

    def do_hello(self):
        return {"name": "aiokafka", "version": aiokafka.__version__, "codecs": ["gzip", "snappy", "lz4", "zstd"]}

    @blocking
    async def do_create(self, topic, partitions, replicas=1, configs=None):
        found = await self.admin.create_topics([NewTopic(topic, partitions, replicas, topic_configs=configs or {})])
        refuse(found.topic_errors[0])

    @blocking
    async def do_delete(self, topic):
        refuse((await self.admin.delete_topics([topic])).topic_error_codes[0])

    @blocking
    async def do_list(self):
        return sorted(await self.admin.list_topics())

    @blocking
    async def do_describe(self, topic):
        [found] = await self.admin.describe_topics([topic])
        if found["error_code"]:
            raise Refused(found["error_code"], "describe")
        return {"partitions": [{"id": p["partition"], "leader": p["leader"], "replicas": len(p["replicas"]), "isr": len(p["isr"])}
                               for p in sorted(found["partitions"], key=lambda p: p["partition"])]}

    @blocking
    async def do_grow(self, topic, partitions):
        await self.admin.create_partitions({topic: NewPartitions(partitions)})

    @blocking
    async def do_config_get(self, topic, name):
        [found] = await self.admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        code, message, _, _, entries = found.resources[0]
        refuse((topic, code, message))
        entry = next(entry for entry in entries if entry[0] == name)
        return {"value": entry[1], "source": entry[3]}

    @blocking
    async def do_config_replace(self, topic, name, value):
        [found] = await self.admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {name: value})])
        code, message, *_ = found.resources[0]
        refuse((topic, code, message))

    @blocking
    async def do_delete_records(self, topic, partition, before):
        found = await self.admin.delete_records({TopicPartition(topic, partition): RecordsToDelete(before)})
        return {"low": found[TopicPartition(topic, partition)]}

    @blocking
    async def do_offset(self, topic, partition, at):
        if at == "max":
            raise Unsupported("max timestamp")
        place = TopicPartition(topic, partition)
        consumer = self.consumer(request_timeout_ms=8000)
        await consumer.start()
        try:
            if at == "earliest":
                return (await consumer.beginning_offsets([place]))[place]
            if at == "latest":
                return (await consumer.end_offsets([place]))[place]
            found = (await consumer.offsets_for_times({place: int(at)}))[place]
            return -1 if found is None else found.offset
        finally:
            await consumer.stop()

    @blocking
    async def do_cluster(self):
        found = await self.admin.describe_cluster()
        return {"brokers": len(found["brokers"]), "controller_is_a_broker": found["controller_id"] in
                [b["node_id"] for b in found["brokers"]], "has_id": bool(found["cluster_id"])}

    @blocking
    async def do_produce(self, topic, count, seed, base, partitions, codec="none", profile="full", acks="all", idempotent=False):
        producer = AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, compression_type=None if codec == "none" else codec, linger_ms=20,
                                    max_batch_size=100_000, acks="all" if acks == "all" else int(acks),
                                    enable_idempotence=idempotent)
        await producer.start()
        futures = []
        for index in range(count):
            key, value, headers, timestamp, partition = record(seed, index, base, partitions, profile)
            futures.append(await producer.send(topic, value=value, key=key, headers=headers, partition=partition,
                                               timestamp_ms=timestamp))
        await producer.stop()
        for future in futures:
            await future
        return {"acked": len(futures)}

    @blocking
    async def do_send(self, topic, partition=None, size=10, timestamp=None):
        producer = AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, max_request_size=10_000_000, request_timeout_ms=8000)
        await producer.start()
        try:
            placed = await asyncio.wait_for(producer.send_and_wait(topic, value=b"x" * size, partition=partition,
                                                                   timestamp_ms=timestamp or None), 20)
            return {"partition": placed.partition, "offset": placed.offset}
        finally:
            await asyncio.wait_for(producer.stop(), 10)

    def consumer(self, **settings):
        return AIOKafkaConsumer(**settings, bootstrap_servers=BOOTSTRAP, group_id=None, enable_auto_commit=False, auto_offset_reset="none")

    @blocking
    async def do_read(self, topic, partitions, dump=None):
        consumer, digests = self.consumer(), Digests(partitions, dump)
        await consumer.start()
        places = [TopicPartition(topic, p) for p in range(partitions)]
        first, last = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        wanted = sum(last[p] - first[p] for p in places)
        consumer.assign(places)
        for place in places:
            consumer.seek(place, first[place])
        got, deadline = 0, time.monotonic() + 90
        while got < wanted and time.monotonic() < deadline:
            for place, records in (await consumer.getmany(timeout_ms=1000, max_records=5000)).items():
                for r in records:
                    digests.add(place.partition, r.offset, r.key, r.value, r.headers, r.timestamp)
                got += len(records)
        await consumer.stop()
        return digests.result()

    @blocking
    async def do_fetch(self, topic, partition, offset):
        consumer = self.consumer()
        await consumer.start()
        try:
            place = TopicPartition(topic, partition)
            consumer.assign([place])
            consumer.seek(place, offset)
            found = await asyncio.wait_for(consumer.getone(place), 20)
            return {"offset": found.offset, "time_type": {0: "create", 1: "append"}[found.timestamp_type],
                    "timestamp": found.timestamp}
        finally:
            await consumer.stop()


def refuse(entry):
    _, code, *text = entry
    if code:
        raise Refused(code, str(text))


def refusal(error):
    code = getattr(error, "errno", None)
    return code if isinstance(code, int) and code >= 0 else None


serve(Verbs(), refusal)
