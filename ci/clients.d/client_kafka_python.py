"""kafka-python. Arguments: bootstrap address."""
import re
import sys
import time

import kafka
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigFilterType, ConfigResource, ConfigResourceType, OffsetSpec

from records import Digests, record
from serve import Refused, serve

BOOTSTRAP = sys.argv[1]


class Verbs:
    def __init__(self):
        self.admin = KafkaAdminClient(bootstrap_servers=BOOTSTRAP)

    def do_hello(self):
        return {"name": "kafka-python", "version": kafka.__version__, "codecs": ["gzip", "snappy", "lz4", "zstd"]}

    def do_create(self, topic, partitions, replicas=1, configs=None):
        self.admin.create_topics({topic: {"num_partitions": partitions, "replication_factor": replicas, "configs": configs or {}}})

    def do_delete(self, topic):
        self.admin.delete_topics([topic])

    def do_list(self):
        return sorted(self.admin.list_topics())

    def do_describe(self, topic):
        [found] = self.admin.describe_topics([topic])
        if found["error_code"]:
            raise Refused(found["error_code"], "describe")
        return {"partitions": [{"id": p["partition_index"], "leader": p["leader_id"], "replicas": len(p["replica_nodes"]),
                                "isr": len(p["isr_nodes"])} for p in sorted(found["partitions"], key=lambda p: p["partition_index"])]}

    def do_grow(self, topic, partitions):
        self.admin.create_partitions({topic: partitions})

    def do_config_get(self, topic, name):
        found = self.admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)], config_filter=ConfigFilterType.ALL)
        entry = found["topic"][topic][name]
        source = entry["config_source"]
        return {"value": entry["value"], "source": {"DYNAMIC_TOPIC_CONFIG": 1, "DEFAULT_CONFIG": 5}.get(source, source)}

    def do_config_set(self, topic, name, value):
        self.alter(topic, {name: value}, True)

    def do_config_replace(self, topic, name, value):
        self.alter(topic, {name: value}, False)

    def alter(self, topic, configs, incremental):
        """Refusals are returned as text, not raised; names are left for the broker to judge."""
        found = self.admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs)], incremental=incremental,
                                         raise_on_unknown=False)["topic"][topic]
        if found != "OK":
            code = re.search(r"\[Error (\d+)\]", found)
            raise Refused(int(code[1]) if code else None, found)

    def do_delete_records(self, topic, partition, before):
        found = self.admin.delete_records({TopicPartition(topic, partition): before})
        return {"low": found[TopicPartition(topic, partition)]["low_watermark"]}

    def do_offset(self, topic, partition, at):
        spec = {"earliest": OffsetSpec.EARLIEST, "latest": OffsetSpec.LATEST, "max": OffsetSpec.MAX_TIMESTAMP}.get(at, at)
        place = TopicPartition(topic, partition)
        return self.admin.list_partition_offsets({place: spec if at in ("earliest", "latest", "max") else int(at)})[place].offset

    def do_cluster(self):
        found = self.admin.describe_cluster()
        return {"brokers": len(found["brokers"]), "controller_is_a_broker": found["controller_id"] in
                [b["broker_id"] for b in found["brokers"]], "has_id": bool(found["cluster_id"])}

    def producer(self, **settings):
        return KafkaProducer(bootstrap_servers=BOOTSTRAP, **settings)

    def do_produce(self, topic, count, seed, base, partitions, codec="none", profile="full", acks="all", idempotent=False):
        producer = self.producer(compression_type=None if codec == "none" else codec, linger_ms=20, batch_size=65536,
                                 acks="all" if acks == "all" else int(acks), enable_idempotence=idempotent)
        futures = []
        for index in range(count):
            key, value, headers, timestamp, partition = record(seed, index, base, partitions, profile)
            futures.append(producer.send(topic, value=value, key=key, headers=headers, partition=partition, timestamp_ms=timestamp))
        producer.flush(timeout=90)
        for future in futures:
            future.get(timeout=1)
        producer.close()
        return {"acked": len(futures)}

    def do_send(self, topic, partition=None, size=10, timestamp=None):
        producer = self.producer(max_request_size=10_000_000, max_block_ms=8000, delivery_timeout_ms=8000, request_timeout_ms=4000)
        try:
            placed = producer.send(topic, value=b"x" * size, partition=partition, timestamp_ms=timestamp or None).get(timeout=20)
            return {"partition": placed.partition, "offset": placed.offset}
        finally:
            producer.close(timeout=1)

    def consumer(self):
        return KafkaConsumer(bootstrap_servers=BOOTSTRAP, group_id=None, enable_auto_commit=False, auto_offset_reset="none",
                             max_poll_records=5000)

    def do_read(self, topic, partitions, dump=None):
        consumer, digests = self.consumer(), Digests(partitions, dump)
        places = [TopicPartition(topic, p) for p in range(partitions)]
        first, last = consumer.beginning_offsets(places), consumer.end_offsets(places)
        wanted = sum(last[p] - first[p] for p in places)
        consumer.assign(places)
        consumer.seek_to_beginning(*places)
        got, deadline = 0, time.monotonic() + 90
        while got < wanted and time.monotonic() < deadline:
            for place, records in consumer.poll(timeout_ms=1000).items():
                for r in records:
                    digests.add(place.partition, r.offset, r.key, r.value, r.headers, r.timestamp)
                got += len(records)
        consumer.close()
        return digests.result()

    def do_fetch(self, topic, partition, offset):
        consumer = self.consumer()
        place = TopicPartition(topic, partition)
        consumer.assign([place])
        consumer.seek(place, offset)
        try:
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                for records in consumer.poll(timeout_ms=1000, max_records=1).values():
                    return {"offset": records[0].offset, "time_type": {0: "create", 1: "append"}[records[0].timestamp_type],
                            "timestamp": records[0].timestamp}
            return None
        finally:
            consumer.close()


def refusal(error):
    code = getattr(error, "errno", None)
    return code if isinstance(code, int) and code >= 0 else None


serve(Verbs(), refusal)
