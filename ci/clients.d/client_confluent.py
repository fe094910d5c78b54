"""confluent-kafka, that is librdkafka. Arguments: bootstrap address."""
import sys
import time

import confluent_kafka
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka import OFFSET_BEGINNING
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic, OffsetSpec,
                                   ResourceType)

from records import Digests, record
from serve import Refused, serve

BOOTSTRAP = sys.argv[1]
WAIT_S = 30


class Verbs:
    def __init__(self):
        self.admin = AdminClient({"bootstrap.servers": BOOTSTRAP})

    def do_hello(self):
        return {"name": "confluent-kafka", "version": f"{confluent_kafka.version()} (librdkafka {confluent_kafka.libversion()[0]})",
                "codecs": ["gzip", "snappy", "lz4", "zstd"]}

    def do_create(self, topic, partitions, replicas=1, configs=None):
        new = NewTopic(topic, num_partitions=partitions, replication_factor=replicas, config=configs or {})
        only(self.admin.create_topics([new])).result(WAIT_S)

    def do_delete(self, topic):
        only(self.admin.delete_topics([topic])).result(WAIT_S)

    def do_list(self):
        return sorted(self.admin.list_topics(timeout=WAIT_S).topics)

    def do_describe(self, topic):
        found = only(self.admin.describe_topics(confluent_kafka.TopicCollection([topic]))).result(WAIT_S)
        return {"partitions": [{"id": p.id, "leader": p.leader.id, "replicas": len(p.replicas), "isr": len(p.isr)}
                               for p in found.partitions]}

    def do_grow(self, topic, partitions):
        only(self.admin.create_partitions([NewPartitions(topic, partitions)])).result(WAIT_S)

    def do_config_get(self, topic, name):
        entry = only(self.admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)])).result(WAIT_S)[name]
        # The client gives the source as an int where it asked with a version that has it.
        return {"value": entry.value, "source": int(entry.source)}

    def do_config_set(self, topic, name, value):
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        only(self.admin.incremental_alter_configs([resource])).result(WAIT_S)

    def do_config_replace(self, topic, name, value):
        only(self.admin.alter_configs([ConfigResource(ResourceType.TOPIC, topic, set_config={name: value})])).result(WAIT_S)

    def do_delete_records(self, topic, partition, before):
        return {"low": only(self.admin.delete_records([TopicPartition(topic, partition, before)])).result(WAIT_S).low_watermark}

    def do_offset(self, topic, partition, at):
        spec = {"earliest": OffsetSpec.earliest, "latest": OffsetSpec.latest, "max": OffsetSpec.max_timestamp}
        asked = spec[at]() if at in spec else OffsetSpec.for_timestamp(int(at))
        return only(self.admin.list_offsets({TopicPartition(topic, partition): asked})).result(WAIT_S).offset

    def do_cluster(self):
        found = self.admin.describe_cluster().result(WAIT_S)
        return {"brokers": len(found.nodes), "controller_is_a_broker": found.controller.id in [n.id for n in found.nodes],
                "has_id": bool(found.cluster_id)}

    def do_produce(self, topic, count, seed, base, partitions, codec="none", profile="full", acks="all", idempotent=False):
        settings = {"bootstrap.servers": BOOTSTRAP, "partitioner": "murmur2_random", "compression.type": codec, "linger.ms": 20,
                    "acks": acks, "enable.idempotence": idempotent, "queue.buffering.max.messages": 1_000_000}
        producer = Producer(settings)
        failures, delivered = [], [0]

        def done(error, message):
            if error:
                failures.append(error)
            else:
                delivered[0] += 1

        for index in range(count):
            key, value, headers, timestamp, partition = record(seed, index, base, partitions, profile)
            extra = {} if partition is None else {"partition": partition}
            producer.produce(topic, value=value, key=key, headers=headers, timestamp=timestamp or 0, on_delivery=done, **extra)
            if index % 1000 == 0:
                producer.poll(0)
        left = producer.flush(90)
        if failures or left:
            raise Refused(failures[0].code() if failures else None, f"{len(failures)} failed, {left} left, {failures[:1]}")
        return {"acked": delivered[0]}

    def do_send(self, topic, partition=None, size=10, timestamp=0):
        producer = Producer({"bootstrap.servers": BOOTSTRAP, "message.timeout.ms": 8000, "message.max.bytes": 10_000_000})
        replies = []
        extra = {} if partition is None else {"partition": partition}
        producer.produce(topic, value=b"x" * size, timestamp=timestamp, on_delivery=lambda *reply: replies.append(reply), **extra)
        producer.flush(20)
        error, message = replies[0]
        if error:
            raise Refused(error.code(), error.str())
        return {"partition": message.partition(), "offset": message.offset()}

    def consumer(self):
        return Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": "never-joined", "enable.auto.commit": False,
                         "auto.offset.reset": "error", "allow.auto.create.topics": False})

    def do_read(self, topic, partitions, dump=None):
        consumer, digests = self.consumer(), Digests(partitions, dump)
        low_high = [consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=WAIT_S) for p in range(partitions)]
        wanted = sum(high - low for low, high in low_high)
        consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(partitions)])
        got, deadline = 0, time.monotonic() + 90
        while got < wanted and time.monotonic() < deadline:
            for message in consumer.consume(5000, 1.0):
                if message.error():
                    raise KafkaException(message.error())
                digests.add(message.partition(), message.offset(), message.key(), message.value(), message.headers(),
                            message.timestamp()[1])
                got += 1
        consumer.close()
        return digests.result()

    def do_fetch(self, topic, partition, offset):
        """The first record at or after an offset; `latest` waits for the record that somebody else then sends."""
        consumer = self.consumer()
        consumer.assign([TopicPartition(topic, partition, offset)])
        message = consumer.poll(WAIT_S)
        consumer.close()
        if message is None:
            return None
        if message.error():
            raise KafkaException(message.error())
        kind, timestamp = message.timestamp()
        return {"offset": message.offset(), "time_type": {1: "create", 2: "append"}.get(kind), "timestamp": timestamp}


def only(futures):
    [(_, future)] = futures.items()
    return future


def refusal(error):
    if isinstance(error, KafkaException) and error.args and isinstance(error.args[0], confluent_kafka.KafkaError):
        return error.args[0].code()
    return None


serve(Verbs(), refusal)
