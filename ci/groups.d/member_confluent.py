"""Members of confluent-kafka, that is librdkafka. Arguments: bootstrap address."""
import time

from confluent_kafka import Consumer, KafkaException, TopicPartition

from member import BOOTSTRAP, POLL_S, host, parts_of, place_of


def configuration(settings):
    found = {"bootstrap.servers": BOOTSTRAP, "group.id": settings.get("group", "in-no-group"), "enable.auto.commit": False,
             "auto.offset.reset": "earliest", "fetch.wait.max.ms": 100, "reconnect.backoff.max.ms": 500,
             "topic.metadata.refresh.interval.ms": 5000, "client.id": settings["name"]}
    if settings.get("protocol") == "consumer":
        found["group.protocol"] = "consumer"
    else:
        # The client has its own default for a new protocol's session: the broker sets it there.
        found |= {"session.timeout.ms": settings["session_ms"], "heartbeat.interval.ms": 500}
        if settings.get("assignor"):
            found["partition.assignment.strategy"] = {"cooperative": "cooperative-sticky"}.get(settings["assignor"], settings["assignor"])
    if settings.get("instance"):
        found["group.instance.id"] = settings["instance"]
    return found


def run(settings, ledger, closing):
    consumer = Consumer(configuration(settings))

    def generation():
        # librdkafka's own serialised form: a tag of 7 bytes, then the generation.
        return int.from_bytes(consumer.consumer_group_metadata()[7:11], "little", signed=True)

    def commit(places):
        offsets = ledger.uncommitted(places)
        if not offsets or "assign" in settings:
            return
        try:
            done = consumer.commit(offsets=[TopicPartition(*parts_of(place), at) for place, at in offsets.items()], asynchronous=False)
            for one in done:
                if one.error:
                    ledger.say("refused", why=str(one.error))
            good = {place_of(one.topic, one.partition) for one in done if not one.error}
            ledger.acked({place: at for place, at in offsets.items() if place in good})
        except KafkaException as error:
            ledger.say("refused", why=str(error))

    def assigned(_, partitions):
        ledger.owns(ledger.owned | {place_of(p.topic, p.partition) for p in partitions}, generation())

    def revoked(_, partitions):
        gone = {place_of(p.topic, p.partition) for p in partitions}
        commit(gone)
        ledger.owns(ledger.owned - gone)

    def lost(_, partitions):
        ledger.owns(ledger.owned - {place_of(p.topic, p.partition) for p in partitions})

    if "assign" in settings:
        consumer.assign([TopicPartition(*parts_of(place), at) for place, at in settings["assign"].items()])
        ledger.owns(settings["assign"])
    else:
        consumer.subscribe([settings["pattern"]] if "pattern" in settings else settings["topics"], on_assign=assigned, on_revoke=revoked,
                           on_lost=lost)
    committed_at = time.monotonic()
    while not closing.is_set():
        wait_s = POLL_S
        for _ in range(500):
            # One at a time: a rebalance is then between two records and never within what a call returns.
            message = consumer.poll(wait_s)
            if message is None:
                break
            if message.error():
                ledger.say("refused", why=str(message.error()))
                break
            ledger.record(message.topic(), message.partition(), message.offset())
            wait_s = 0
        ledger.flush()
        if time.monotonic() - committed_at >= settings["commit_ms"] / 1000:
            commit(ledger.owned)
            committed_at = time.monotonic()
    consumer.close()
    if ledger.owned:
        ledger.owns([])


host(run)
