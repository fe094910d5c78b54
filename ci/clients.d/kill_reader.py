"""Reads back what `ci/clients --kill` sent: one JSON list of [offset, index] a partition. Arguments: bootstrap address, topic, partitions."""
import json
import sys
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

bootstrap, topic, partitions = sys.argv[1], sys.argv[2], int(sys.argv[3])
consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "never-joined", "enable.auto.commit": False})
wanted = sum(consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=30)[1] for p in range(partitions))
consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(partitions)])
found, got, deadline = [[] for _ in range(partitions)], 0, time.monotonic() + 120
while got < wanted and time.monotonic() < deadline:
    for message in consumer.consume(5000, 1.0):
        if message.error():
            sys.exit(str(message.error()))
        found[message.partition()].append((message.offset(), int(message.value().split(b" ", 1)[0])))
        got += 1
consumer.close()
for records in found:
    print(json.dumps(records))
