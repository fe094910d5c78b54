"""Keeps producing into some topics until its input ends, then says how far each partition got: place -> one past its last offset.
confluent-kafka, in a process and a thread of its own. Arguments: bootstrap address, topics (JSON: name -> partitions), records a second
of all partitions together. A line of its input names topics anew: they have more partitions, or are more.
"""
import json
import os
import select
import sys
import time

from confluent_kafka import KafkaError, KafkaException, Producer

BOOTSTRAP, TOPICS, RATE = sys.argv[1], json.loads(sys.argv[2]), float(sys.argv[3])
FLUSH_S_MAX = 60
# Records are sent in small bursts, so often.
TURN_S = 0.02

producer = Producer({"bootstrap.servers": BOOTSTRAP, "enable.idempotence": True, "linger.ms": 2, "message.timeout.ms": 120_000,
                     "reconnect.backoff.max.ms": 500, "topic.metadata.refresh.interval.ms": 1000})
topics = TOPICS
ends, refused = {}, []


def delivered(error, message):
    if error:
        refused.append(str(error))
        return
    place = f"{message.topic()}/{message.partition()}"
    ends[place] = max(ends.get(place, 0), message.offset() + 1)


index, started = 0, time.monotonic()
while True:
    if select.select([0], [], [], TURN_S)[0]:
        # A line is one write, and there is time between two.
        told = os.read(0, 65536)
        if not told:
            break
        topics = topics | json.loads(told)
    places = [(topic, p) for topic, partitions in topics.items() for p in range(partitions)]
    due = int((time.monotonic() - started) * RATE)
    while index < due:
        topic, partition = places[index % len(places)]
        try:
            producer.produce(topic, b"%d" % index, partition=partition, on_delivery=delivered)
        except BufferError:
            break
        except KafkaException as error:
            # It looks for new partitions by itself, once a second.
            if error.args[0].code() != KafkaError._UNKNOWN_PARTITION:
                raise
        index += 1
    producer.poll(0)
left = producer.flush(FLUSH_S_MAX)
if left or refused:
    sys.exit(f"{len(refused)} records were refused ({refused[:1]}), {left} are without an answer")
json.dump(ends, sys.stdout)
