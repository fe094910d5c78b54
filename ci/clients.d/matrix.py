"""Every client produces, every other client reads, and what was read is held against what the generator says was sent."""
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import records


@dataclass
class Results:
    """Cells of the table, and what went wrong first in each that failed."""

    cells: dict = field(default_factory=dict)
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    failures: list = field(default_factory=list)

    def judge(self, client, column, faults):
        """One check of a cell; a cell that failed once stays so."""
        if faults:
            self.failed += 1
            self.failures.append((client, column, faults))
            self.cells[client, column] = "fails"
            print(f"FAILED  {client}, {column}: {faults}", flush=True)
        else:
            self.passed += 1
            self.cells.setdefault((client, column), "yes")

    def differs(self, client, column, marks):
        """A cell that is as it should be, and that is not what Kafka does: it names the differences."""
        if marks and self.cells.get((client, column)) == "yes":
            self.cells[client, column] = f"yes [{', '.join(map(str, marks))}]"

    def none(self, client, column):
        self.cells.setdefault((client, column), "–")


PARTITIONS = 4


def run(clients, helper, results, prefix, base, count, codec_count, logs):
    """Results go to the producer's cell of the codec and to the reader's cell `reads all`."""
    for number, producer in enumerate(clients):
        for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
            if codec != "none" and codec not in producer.codecs:
                results.none(producer.name, codec)
                continue
            topic = f"{prefix}-{producer.name}-{codec}"
            one(producer, codec, topic, [c for c in clients if c is not producer], helper, results, base, number + 1,
                count if codec == "none" else codec_count, logs)


def one(producer, codec, topic, readers, helper, results, base, seed, count, logs):
    made = producer.call("create", topic=topic, partitions=PARTITIONS)
    if "unsupported" in made:
        made = helper.call("create", topic=topic, partitions=PARTITIONS)
    settle(helper, topic)
    reply = producer.call("produce", topic=topic, count=count, seed=seed, base=base, partitions=PARTITIONS, codec=codec,
                          profile=producer.profile) if "ok" in made else made
    if reply.get("ok", {}).get("acked") != count:
        results.judge(producer.name, codec, f"topic {topic}: {count} records were to be sent, got {reply}")
        producer.again()
        return
    wanted = records.expected(seed, count, base, PARTITIONS, producer.profile)["partitions"]
    times_known = producer.profile == "full"
    readers = [reader for reader in readers if reader.reads == "full" or producer.profile == "text"]

    def read(reader):
        return reader.call("read", topic=topic, partitions=PARTITIONS)

    with ThreadPoolExecutor(2) as pool:
        replies = list(pool.map(read, readers))
    if not times_known:
        # Such a producer leaves the timestamps to its library: all readers must see the same.
        first = next((reply["ok"]["partitions"] for reply in replies if "ok" in reply), [])
        wanted = [{**w, "times": f["times"]} for w, f in zip(wanted, first)] or wanted
    faults = []
    for reader, reply in zip(readers, replies):
        fault = ""
        if reply.get("ok", {}).get("partitions") != wanted:
            fault = difference(reader, topic, reply, producer, codec, seed, count, base, times_known, logs)
            faults.append(f"read by {reader.name}")
        results.judge(reader.name, "reads", fault)
        reader.again()
    results.judge(producer.name, codec, ", ".join(faults))


def settle(helper, topic):
    """A producer that is not idempotent may reorder as it retries, and Kafka refuses the first records of a topic that it has
    announced but not opened yet: wait until the topic answers."""
    for _ in range(100):
        if all("ok" in helper.call("offset", topic=topic, partition=p, at="latest") for p in range(PARTITIONS)):
            return
        time.sleep(0.05)


def difference(reader, topic, reply, producer, codec, seed, count, base, times_known, logs):
    """Reads once more, with every record written out, and names the first that differs."""
    head = f"topic {topic} (from {producer.name}, {codec})"
    if "ok" not in reply:
        return f"{head}: {reply}"
    dump, sent = os.path.join(logs, f"{topic}.{reader.name}"), os.path.join(logs, f"{topic}.sent")
    records.expected(seed, count, base, PARTITIONS, producer.profile, sent)
    reader.call("read", topic=topic, partitions=PARTITIONS, dump=dump)
    for partition in range(PARTITIONS):
        expected, got = lines(f"{sent}.{partition}", times_known), lines(f"{dump}.{partition}", times_known)
        for at in range(max(len(expected), len(got))):
            pair = [side[at] if at < len(side) else "nothing" for side in (expected, got)]
            if pair[0] != pair[1]:
                shown = [text if len(text) < 200 else text[:200] + "…" for text in pair]
                return (f"{head}, partition {partition}, offset {at}: expected `{shown[0]}`, got `{shown[1]}` (timestamp offset key value "
                        f"headers, in hexadecimal); {len(expected)} expected, {len(got)} got; all of it: {sent}.*, {dump}.*")
    return f"{head}: the first reading differed, the second did not, or only in timestamps: {reply}"


def lines(path, times_known):
    if not os.path.exists(path):
        return []
    with open(path) as file:
        return [line.rstrip("\n") if times_known else line.rstrip("\n").partition(" ")[2] for line in file]
