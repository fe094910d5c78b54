"""One round of one broker: started empty, warmed up, driven as hard as it goes, then at a fixed rate."""
import os
import re
import subprocess
import tempfile
import time

import drivers
import install

BROKER_CORE, GENERATOR_CORE = "0", "1"
RECORD_BYTES = 1024
# The same for the rate and for the latency: without linger the generator needs all of its core at half the rate already, and its own
# queue is what the latency would tell.
PRODUCER = ["batch.size=65536", "linger.ms=5", "acks=all", "compression.type=none"]
SETTINGS = f"records of {RECORD_BYTES} bytes, {', '.join(PRODUCER)}"
# After its start the generator works off what it could not send meanwhile, at a higher rate and for the longer the higher its own is.
WARM_UP_S = 15
SUMMARY = re.compile(r"^(\d+)(?: steady state)? records sent, ([\d.]+) records/sec \(([\d.]+) MB/sec\), .* 99th, ", re.M)
P99 = re.compile(r"(\d+) ms 99th")


def first_message_client(installed):
    """How a client that sends the first message is started: librdkafka is ready at once, Java where there is no PyPI."""
    kinds = drivers.kinds(installed)
    for name in ("confluent-kafka", "kafka-clients"):
        try:
            return name, kinds[name]()
        except install.Unavailable:
            continue
    raise SystemExit("neither confluent-kafka nor the Java client can be had")


def taken(broker, jars, client, asked, half):
    """Figures of this broker; `half` is the rate at which latency is asked, or None for half of its own maximum."""
    try:
        figures = {"first_s": first_message(broker, client)}
        topic(broker, jars, "warm", asked.partitions)
        topic(broker, jars, "bench", asked.partitions)
        warm = perf(broker, jars, "warm", asked.warmup_mib * (1 << 20) // RECORD_BYTES, -1, PRODUCER)
        before = broker.cpu_s()
        figures |= perf(broker, jars, "bench", max(1, int(warm["records_s"] * asked.seconds)), -1, PRODUCER)
        figures["cpu_s_gb"] = (broker.cpu_s() - before) / (figures["records"] * RECORD_BYTES / 1e9)
        figures["resident_mib"] = broker.resident_mib()
        rate = int(half or figures["records_s"] / 2)
        half_load = perf(broker, jars, "bench", rate * asked.seconds, rate, PRODUCER, warm_up_records=rate * WARM_UP_S)
        figures |= {"p99_ms": half_load["p99_ms"], "half_share": half_load["generator_share"]}
        # The same without an answer to wait for: what is left is the generator's own, and no broker is faster than that.
        alone = perf(broker, jars, "bench", rate * asked.seconds, rate, [*(p for p in PRODUCER if p != "acks=all"), "acks=0"],
                     warm_up_records=rate * WARM_UP_S)
        figures["floor_ms"] = alone["p99_ms"]
        return figures
    finally:
        broker.stop()


def first_message(broker, client):
    """Seconds from the start of the process until a client that was waiting has its first record acknowledged."""
    name, (kind, command, environment) = client
    with tempfile.TemporaryDirectory() as logs:
        waiting = kind(name, ["taskset", "-c", GENERATOR_CORE, *command], logs, broker.bootstrap, environment)
        waiting.start()
        try:
            started = time.monotonic()
            broker.start()
            reply = waiting.call("send", topic="first")
            if "ok" not in reply:
                raise SystemExit(f"the first message was not taken: {reply}; log of the broker: {broker.log}")
            return time.monotonic() - started
        finally:
            waiting.stop()


def java(jars, *words):
    return ["taskset", "-c", GENERATOR_CORE, "java", "-Xmx1G", "-cp", os.path.join(jars, "*"), *map(str, words)]


def topic(broker, jars, name, partitions):
    subprocess.run(java(jars, "org.apache.kafka.tools.TopicCommand", "--bootstrap-server", broker.bootstrap, "--create", "--topic", name,
                        "--partitions", partitions), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def perf(broker, jars, topic_name, records, throughput, properties, warm_up_records=0):
    """What ProducerPerformance says at its end, and the share of its core that it used."""
    warm_up = ["--warmup-records", warm_up_records] if warm_up_records else []
    # Once with all of them: of repeated ones the tool takes the last.
    started = time.monotonic()
    child = subprocess.Popen(java(jars, "org.apache.kafka.tools.ProducerPerformance", "--bootstrap-server", broker.bootstrap, "--topic",
                                  topic_name, "--num-records", records + warm_up_records, "--record-size", RECORD_BYTES, "--throughput",
                                  throughput, *warm_up, "--command-property", *properties),
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    printed = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    lines = [line for line in printed.splitlines() if SUMMARY.match(line)]
    if child.returncode or not lines:
        raise SystemExit(f"ProducerPerformance against {broker.name} failed: {printed[-2000:]}; log of the broker: {broker.log}")
    # With a warm-up there are two: of everything, then of what came after it.
    last = SUMMARY.match(lines[-1])
    return {"records": int(SUMMARY.match(lines[0])[1]), "records_s": float(last[2]), "mib_s": float(last[3]),
            "p99_ms": max(1, int(P99.search(lines[-1])[1])),
            "generator_share": (usage.ru_utime + usage.ru_stime) / (time.monotonic() - started)}
