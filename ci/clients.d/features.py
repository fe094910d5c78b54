"""What a client does beside producing and consuming in bulk. Each feature is a list of steps whose outcomes are held against
what the same client said of Apache Kafka (expected.json): a value, an error code, or the client's own refusal."""
import re
import time

FEATURES = {}


def feature(function):
    FEATURES[function.__name__.replace("_", " ")] = function
    return function


class Steps:
    """Runs the steps of one feature for one client, in topics of its own."""

    def __init__(self, client, helper, prefix, base):
        self.client, self.helper, self.prefix, self.base = client, helper, prefix, base
        self.outcomes, self.can = {}, False

    def topic(self, suffix=""):
        return f"{self.prefix}{suffix}"

    def step(self, title, verb, show=lambda value: value, until=None, **arguments):
        """Asks the client and keeps the outcome under a title; again for 5 s until it is `until`, where what was done may
        still be on its way (Kafka announces a change of a topic a moment after it answered)."""
        for attempt in range(20):
            reply = self.client.call(verb, **arguments)
            outcome = self.outcome(reply, show)
            if until is None or outcome in (until, "no such thing"):
                break
            time.sleep(0.25)
        if outcome != "no such thing":
            self.can = True
        self.outcomes[title] = outcome
        return reply.get("ok")

    def outcome(self, reply, show):
        if "unsupported" in reply:
            return "no such thing"
        if "error" in reply:
            error = reply["error"]
            if error["code"] is not None:
                return f"error {error['code']}"
            # What the client says itself, without what differs from run to run.
            text = error["text"].replace(self.prefix, "TOPIC").replace(self.client.bootstrap, "BROKER")
            # librdkafka passes the broker's refusal on, or makes it its own where that came before the message.
            text = re.sub(r"% ERROR: Failed to produce message \(\d+ bytes\): Local: Unknown topic",
                          "% Delivery failed for message: Broker: Invalid topic", text)
            return "error: " + re.sub(r"0x[0-9a-f]+|\b\d{5,}\b", "N", text.partition("\n")[0])[:160]
        return show(reply["ok"])

    def made(self, topic, partitions=2, **configs):
        """A topic for what follows, by whoever can make one; its making is not what is asked."""
        spelled = {name.replace("_", "."): value for name, value in configs.items()}
        reply = self.helper.call("create", topic=topic, partitions=partitions, configs=spelled)
        if "error" in reply:
            self.outcomes["topic made for it"] = self.outcome(reply, str)
            return
        for p in range(partitions):
            for _ in range(100):
                # Kafka announces a topic a moment before it opens it.
                if "ok" in self.helper.call("offset", topic=topic, partition=p, at="latest"):
                    break
                time.sleep(0.05)

    def filled(self, topic, count=200, partitions=1):
        self.made(topic, partitions)
        reply = self.helper.call("produce", topic=topic, count=count, seed=7, base=self.base, partitions=partitions)
        if "error" in reply:
            self.outcomes["records made for it"] = self.outcome(reply, str)


def done(_):
    return "done"


@feature
def create(s):
    t = s.topic()
    s.step("a topic of 3 partitions", "create", done, topic=t, partitions=3, configs={"max.message.bytes": "200000"})
    s.step("again", "create", done, topic=t, partitions=3)
    s.step("illegal name", "create", done, topic="not legal!", partitions=1)
    s.step("name of 250 letters", "create", done, topic="x" * 250, partitions=1)
    s.step("the name ..", "create", done, topic="..", partitions=1)
    s.step("a name that differs by . for _", "create", done, topic=t.replace("-", "."), partitions=1)
    s.step("0 partitions", "create", done, topic=t + "-none", partitions=0)
    s.step("2 replicas on one broker", "create", done, topic=t + "-two", partitions=1, replicas=2)
    s.step("unknown config", "create", done, topic=t + "-odd", partitions=1, configs={"no.such.thing": "1"})
    s.step("config out of range", "create", done, topic=t + "-range", partitions=1, configs={"max.message.bytes": "-1"})
    s.step("default count of partitions", "create", done, topic=t + "-default", partitions=-1, replicas=-1)


@feature
def list_and_describe(s):
    s.made(s.topic(), 3)
    s.step("the topic is listed", "list", lambda names: s.topic() in names)
    s.step("its partitions", "describe", lambda found: [[p["id"], p["replicas"], p["isr"], p["leader"] >= 0] for p in found["partitions"]],
           topic=s.topic())
    s.step("a topic that is not there", "describe", topic=s.topic("-absent"))
    s.step("the cluster", "cluster")


@feature
def grow(s):
    s.filled(s.topic(), partitions=2)
    s.step("from 2 to 5 partitions", "grow", done, topic=s.topic(), partitions=5)
    if not s.can:
        return
    s.step("described", "describe", until=5, show=lambda found: len(found["partitions"]), topic=s.topic())
    s.step("to fewer", "grow", done, topic=s.topic(), partitions=3)
    s.step("to the same", "grow", done, topic=s.topic(), partitions=5)
    s.step("a topic that is not there", "grow", done, topic=s.topic("-absent"), partitions=3)
    s.step("a new partition is empty", "offset", until=0, topic=s.topic(), partition=4, at="latest")


@feature
def configs(s):
    t = s.topic()
    s.made(t)
    for name in ("max.message.bytes", "cleanup.policy", "compression.type", "message.timestamp.type", "retention.ms"):
        s.step(f"default of {name}", "config_get", topic=t, name=name)
    s.step("set", "config_set", done, topic=t, name="max.message.bytes", value="100000")
    s.step("is set", "config_get", topic=t, name="max.message.bytes")
    s.step("set an unknown one", "config_set", done, topic=t, name="no.such.thing", value="1")
    s.step("set nonsense", "config_set", done, topic=t, name="max.message.bytes", value="many")
    s.step("replace all (AlterConfigs)", "config_replace", done, topic=t, name="message.timestamp.type", value="LogAppendTime")
    s.step("what was set before that", "config_get", topic=t, name="max.message.bytes")
    s.step("what was set by that", "config_get", topic=t, name="message.timestamp.type")
    s.step("set retention.ms", "config_set", done, topic=t, name="retention.ms", value="86400000")
    s.step("a topic that is not there", "config_get", topic=s.topic("-absent"), name="max.message.bytes")


@feature
def offsets(s):
    t = s.topic()
    s.filled(t)
    for at in ("earliest", "latest", "max"):
        s.step(at, "offset", topic=t, partition=0, at=at)
    for title, time_ms in (("by time", 50), ("before all", -1000), ("between", 52), ("after all", 100_000)):
        s.step(title, "offset", topic=t, partition=0, at=str(s.base + time_ms))
    s.made(t + "-empty", 1)
    s.step("of an empty partition by time", "offset", topic=t + "-empty", partition=0, at=str(s.base))
    s.step("a partition that is not there", "offset", topic=t, partition=9, at="latest")


@feature
def seek(s):
    t = s.topic()
    s.filled(t)
    for offset in (0, 1, 73, 199):
        s.step(f"offset {offset}", "fetch", lambda found: found and found["offset"], topic=t, partition=0, offset=offset)
    s.step("offset beyond the end", "fetch", lambda found: found and found["offset"], topic=t, partition=0, offset=5000)


@feature
def delete_records(s):
    t = s.topic()
    s.filled(t)
    s.step("before offset 100", "delete_records", topic=t, partition=0, before=100)
    if not s.can:
        return
    s.step("earliest", "offset", topic=t, partition=0, at="earliest")
    s.step("what is deleted is out of range", "fetch", lambda found: found and found["offset"], topic=t, partition=0, offset=10)
    s.step("the first that is left", "fetch", lambda found: found and found["offset"], topic=t, partition=0, offset=100)
    s.step("beyond the end", "delete_records", topic=t, partition=0, before=5000)
    s.step("all", "delete_records", topic=t, partition=0, before=-1)
    s.step("earliest then", "offset", topic=t, partition=0, at="earliest")
    s.step("latest", "offset", topic=t, partition=0, at="latest")


@feature
def idempotent(s):
    t = s.topic()
    s.made(t)
    s.step("500 records", "produce", topic=t, count=500, seed=9, base=s.base, partitions=2, profile=s.client.profile, idempotent=True)
    if not s.can:
        return
    s.outcomes["as sent"] = as_sent(s, t, 500, 9)


@feature
def acks(s):
    t = s.topic()
    for level in ("1", "0"):
        s.made(f"{t}-{level}")
        s.step(f"acks {level}", "produce", topic=f"{t}-{level}", count=300, seed=3, base=s.base, partitions=2,
               profile=s.client.profile, acks=level, idempotent=False)
        s.outcomes[f"acks {level}, as sent"] = as_sent(s, f"{t}-{level}", 300, 3)


def as_sent(s, topic, count, seed):
    """Whether the helper finds what the client sent; what acks=0 sent may still be on its way."""
    from records import expected
    wanted = expected(seed, count, s.base, 2, s.client.profile)["partitions"]
    for _ in range(50):
        found = s.helper.call("read", topic=topic, partitions=2).get("ok", {}).get("partitions", [])
        if [p["content"] for p in found] == [p["content"] for p in wanted]:
            return True
        time.sleep(0.1)
    return [p["count"] for p in found] if found else False


@feature
def partition(s):
    t = s.topic()
    s.made(t, 3)
    s.step("partition 2", "send", lambda placed: placed["partition"], topic=t, partition=2)
    if s.can:
        s.outcomes["is there"] = s.helper.call("offset", topic=t, partition=2, at="latest").get("ok")
    s.step("a partition that is not there", "send", done, topic=t, partition=77)


@feature
def refusals(s):
    t = s.topic()
    s.made(t, 1, max_message_bytes="1000")
    s.step("record too large", "send", done, topic=t, size=5000)
    s.step("illegal topic name", "send", done, topic="not legal!")
    s.step("a timestamp far in the future", "send", done, topic=t, timestamp=s.base + 10 * 86_400_000)


@feature
def compaction(s):
    s.step("a compacted topic", "create", done, topic=s.topic(), partitions=1, configs={"cleanup.policy": "compact"})
    if s.can:
        s.step("a record without a key", "send", done, topic=s.topic())


@feature
def auto_create(s):
    s.step("send to a topic that is not there", "send", lambda placed: placed["partition"] in (0, None), topic=s.topic())
    if s.can:
        found = s.helper.call("describe", topic=s.topic()).get("ok", {})
        s.outcomes["partitions it has then"] = len(found.get("partitions", []))


@feature
def append_time(s):
    t = s.topic()
    s.made(t, 1, message_timestamp_type="LogAppendTime")
    # kcat and the tools send no timestamps of their own: the helper's record shows the same.
    sender = s.client if s.client.profile == "full" else s.helper
    sender.call("send", topic=t, partition=0, timestamp=s.base - 86_400_000)
    s.step("type, and the broker's clock", "fetch",
           lambda found: found and [found["time_type"], abs(found["timestamp"] - time.time() * 1000) < 120_000],
           topic=t, partition=0, offset=0)
    s.step("found by that time", "offset", topic=t, partition=0, at=str(s.base - 1000))


@feature
def delete(s):
    s.filled(s.topic())
    s.step("the topic", "delete", done, topic=s.topic())
    if s.can:
        s.outcomes["is gone"] = gone(s.helper, s.topic())
    s.step("a topic that is not there", "delete", done, topic=s.topic("-absent"))
    if s.can:
        s.made(s.topic())
        s.step("made again, it is empty", "offset", until=0, topic=s.topic(), partition=0, at="latest")


def gone(helper, topic):
    """A deletion reaches a broker's metadata a moment after it was answered."""
    for _ in range(50):
        if topic not in helper.call("list").get("ok", [topic]):
            return True
        time.sleep(0.1)
    return False


@feature
def extras(s):
    s.filled(s.topic())
    s.step("perf test", "perf", topic=s.topic(), count=2000, size=100)
    found = s.helper.call("describe", topic=s.topic()).get("ok", {"partitions": [{"leader": 0}]})
    s.step("log dirs", "log_dirs", topic=s.topic(), broker=found["partitions"][0]["leader"])
    s.step("reassignments", "reassignments")


def run(name, client, helper, prefix, base):
    """(outcomes, whether the client has any of it)"""
    steps = Steps(client, helper, prefix, base)
    FEATURES[name](steps)
    client.again()
    helper.again()
    return steps.outcomes, steps.can
