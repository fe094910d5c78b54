"""Makes topics and looks at groups from outside: confluent-kafka behind the verbs of serve.py.
Arguments: bootstrap address."""
import sys

import confluent_kafka
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from serve import Refused, serve

BOOTSTRAP = sys.argv[1]
WAIT_S = 30


class Verbs:
    def __init__(self):
        # Without rebootstrap: after the loss of its last broker, librdkafka 2.16 goes on asking the handle of a coordinator that it has
        # given up, and every question for a group runs into its time limit.
        self.admin = AdminClient({"bootstrap.servers": BOOTSTRAP, "reconnect.backoff.max.ms": 500, "metadata.recovery.strategy": "none"})

    def do_hello(self):
        return {"name": "keeper", "version": confluent_kafka.version(), "codecs": []}

    def do_create(self, topics):
        new = [NewTopic(topic, partitions, 1) for topic, partitions in topics.items()]
        for made in self.admin.create_topics(new).values():
            made.result(WAIT_S)

    def do_grow(self, topics):
        for made in self.admin.create_partitions([NewPartitions(topic, count) for topic, count in topics.items()]).values():
            made.result(WAIT_S)

    def do_committed(self, group):
        """OffsetFetch of all that the group has committed: place -> [offset, metadata]."""
        [(_, future)] = self.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)], request_timeout=WAIT_S).items()
        return {f"{p.topic}/{p.partition}": [p.offset, p.metadata] for p in future.result(WAIT_S).topic_partitions}

    def do_commit(self, group, topic, partition, offset, metadata):
        """A commit from outside of any generation, as tools make it."""
        consumer = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": group, "enable.auto.commit": False})
        try:
            [done] = consumer.commit(offsets=[TopicPartition(topic, partition, offset, metadata)], asynchronous=False)
            if done.error:
                raise Refused(done.error.code(), str(done.error))
        finally:
            consumer.close()

    def do_describe(self, group):
        [(_, future)] = self.admin.describe_consumer_groups([group], request_timeout=WAIT_S).items()
        found = future.result(WAIT_S)
        return {"state": found.state.name, "members": {m.client_id: sorted(f"{p.topic}/{p.partition}" for p in
                (m.assignment.topic_partitions if m.assignment else [])) for m in found.members}}

    def do_groups(self):
        return sorted(one.group_id for one in self.admin.list_consumer_groups(request_timeout=WAIT_S).result(WAIT_S).valid)


def refusal(error):
    if error.args and isinstance(error.args[0], confluent_kafka.KafkaError):
        return error.args[0].code()
    return None


serve(Verbs(), refusal)
