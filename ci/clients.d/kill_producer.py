"""The producer of `ci/clients --kill`. Arguments: bootstrap address, topic, records, partitions, path of the ledger.

Prints the number of acknowledgements every hundred; the ledger gets a line `index partition offset` for each.
"""
import sys

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

bootstrap, topic, count, partitions, path = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
admin = AdminClient({"bootstrap.servers": bootstrap})
admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(30)
# Requests are small, so that a kill finds several of them on their way.
producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "acks": "all", "linger.ms": 2,
                     "batch.num.messages": 50, "message.timeout.ms": 120_000, "reconnect.backoff.max.ms": 500,
                     "queue.buffering.max.messages": 2000})
acked = failed = 0


def delivered(error, message):
    global acked, failed
    index = int(message.value().split(b" ", 1)[0])
    if error:
        failed += 1
        print(f"record {index}: {error}", file=sys.stderr)
        return
    acked += 1
    ledger.write(f"{index} {message.partition()} {message.offset()}\n")
    if acked % 100 == 0:
        print(acked, flush=True)


with open(path, "w") as ledger:
    for index in range(count):
        while True:
            try:
                producer.produce(topic, b"%d %s" % (index, b"." * (index % 100)), partition=index % partitions, on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    left = producer.flush(150)
if failed or left:
    print(f"{failed} failed, {left} without an answer", file=sys.stderr)
    sys.exit(1)
