"""One function for each sample of a round: what is run, on what load. Owns the loads; judges nothing. Every function takes
the machine and the samples of this round so far, and returns the run's own report."""

import json
import os
import shutil
import socket
import tempfile
import time

from run import BROKER_CORE, GENERATOR_CORE, Missing, Serve, run

# Records in flight, batches a request and records a batch are the same in every partition comparison (docs/rules.md M3).
EQUAL = ["--record-bytes", 1024, "--batch-bytes", 1024, "--batches-per-request", 64, "--in-flight", 64, "--connections", 4]
RECORD_BYTES = 1024


def produce_over(partitions, skew="uniform"):
    return lambda machine, _: machine.produce(*EQUAL, "--partitions", partitions, "--skew", skew)


def produce_16k(machine, _):
    return machine.produce("--partitions", 1, "--batch-bytes", "16KiB", "--in-flight", 256)


def produce_64k(machine, _):
    return machine.produce("--partitions", 1, "--batch-bytes", "64KiB", "--in-flight", 64)


def produce_connections(connections, in_flight):
    return lambda machine, _: machine.produce("--partitions", 1, "--connections", connections, "--in-flight", in_flight)


def produce_half_load(machine, samples):
    """An open loop at half of what the closed loop of this round reached."""
    rate = int(samples["produce-16k"]["records_per_s"] / 2)
    return machine.produce("--partitions", 1, "--batch-bytes", "16KiB", "--in-flight", 1024, "--rate", rate)


def fio_p999_us(job):
    """fio's write and the fdatasync behind it, each at its 99.9th percentile."""
    at = "99.900000"
    return (job["write"]["clat_ns"]["percentile"][at] + job["sync"]["lat_ns"]["percentile"][at]) / 1000


def fetch_tail(machine, _):
    return machine.embedded("consume", "--partitions", 4, "--records", 60_000, "--seconds", machine.seconds)


def fetch_disk(machine, _):
    records = 100_000 if machine.is_quick else 1_000_000
    return machine.embedded("consume", "--partitions", 4, "--records", records, "--cold")


def loopback(machine, _):
    """The runtime's bare send: a server on the broker's core, its client on the generator's."""
    program = machine.example("ouzel-runtime", "loopback")
    return json.loads(run([program, "--bytes-per-reply", 1 << 20, "--connections", 4, "--in-flight", 4, "--seconds",
                           machine.seconds, "--cpu", BROKER_CORE, "--client-cpu", GENERATOR_CORE]).strip().splitlines()[-1])


def parts(machine, _):
    program = machine.example("ouzel-bench", "parts")
    return json.loads(run([program, machine.directory, BROKER_CORE, GENERATOR_CORE]))


def timers(machine, _):
    found = {}
    program = machine.example("ouzel-runtime", "timers", "glommio")
    for executor in ("own", "glommio"):
        report = run([program, "--seconds", machine.seconds, "--cpu", BROKER_CORE, "--executor", executor,
                      "--data-dir", machine.directory])
        found[executor] = json.loads(report)["p99_late_us"]
    return found


def costs(machine, samples):
    """The figures that the counting test prints. They do not vary: one round is enough."""
    if "costs" in machine.examples:
        return machine.examples["costs"]
    text = run(["cargo", "test", "--locked", "-p", "ouzel-broker", "--test", "costs", "--", "--nocapture"])
    lines = [line.removeprefix("costs ") for line in text.splitlines() if line.startswith("costs {")]
    if not lines:
        raise Missing("the counting test printed no figures")
    machine.examples["costs"] = json.loads(lines[-1])
    return machine.examples["costs"]


def directory_of(machine):
    return tempfile.mkdtemp(prefix="data-", dir=machine.directory)


def empty_broker(machine, _):
    data_dir = directory_of(machine)
    try:
        with Serve(machine, data_dir) as broker:
            time.sleep(1)
            return {"ready_s": broker.ready_s, "rss": broker.rss(), "idle_cpu": broker.idle_cpu(2 * machine.seconds)}
    finally:
        shutil.rmtree(data_dir)


def stored(machine, gigabytes):
    """Stores so much, goes on until the journal is filled as far as in every other run, kills, and starts again."""
    data_dir = directory_of(machine)
    journal = ["--set", f"journal.bytes.max={machine.journal_mib // 2}MiB"]
    try:
        with Serve(machine, data_dir, *journal) as broker:
            topic = ["--topic", "stored", "--partitions", 4]
            broker.bench("produce", *topic, "--records", int(gigabytes * 1e9 / RECORD_BYTES))
            for _ in range(100):
                used = broker.counter("journal_used_bytes") / broker.counter("journal_bytes_max")
                if 0.15 <= used <= 0.22:
                    break
                broker.bench("produce", *topic, "--records", 4096)
            broker.kill()
        with Serve(machine, data_dir, *journal) as broker:
            return {"ready_s": broker.ready_s, "occupancy": used, "gb": gigabytes}
    finally:
        shutil.rmtree(data_dir)


def restart(machine, _):
    small, large = (0.1, 0.3) if machine.is_quick else (0.5, 5.0)
    return {"small": stored(machine, small), "large": stored(machine, large)}


def many_partitions(machine, _):
    data_dir = directory_of(machine)
    try:
        with Serve(machine, data_dir) as broker:
            broker.command("topic", "create", "many", "--partitions", 10_000)
            # Each partition has a record, so that each has a tail to recover.
            broker.bench("produce", "--topic", "many", "--batch-bytes", 1024, "--batches-per-request", 100, "--records", 10_000)
            broker.kill()
        with Serve(machine, data_dir) as broker:
            time.sleep(1)
            return {"ready_s": broker.ready_s, "rss": broker.rss(), "idle_cpu": broker.idle_cpu(2 * machine.seconds)}
    finally:
        shutil.rmtree(data_dir)


def hold(kind, connections, fill_records=0):
    """`ouzel bench hold` in a process of its own against a broker of its own."""
    def sample(machine, _):
        data_dir = directory_of(machine)
        try:
            with Serve(machine, data_dir) as broker:
                if fill_records:
                    broker.bench("produce", "--topic", "held", "--partitions", 4, "--records", fill_records)
                seconds = 2 * machine.seconds
                report = broker.bench("hold", "--topic", "held", "--kind", kind, "--connections", connections, "--seconds", seconds)
                report["broker_rss_bytes_max"] = broker.status("VmHWM")
                return report
        finally:
            shutil.rmtree(data_dir)
    return sample


def produce_memory(machine, _):
    """Full rate over many partitions, nobody reads."""
    data_dir = directory_of(machine)
    try:
        with Serve(machine, data_dir) as broker:
            report = broker.bench("produce", "--partitions", 128, "--seconds", 3 * machine.seconds)
            report["broker_rss_bytes_max"] = broker.status("VmHWM")
            return report
    finally:
        shutil.rmtree(data_dir)


def tail_under_backfill(machine, _):
    """A light end-to-end load, without and with a consumer that reads everything from disk at full speed."""
    data_dir = directory_of(machine)
    records = 200_000 if machine.is_quick else 3_000_000
    load = ["--partitions", 4, "--rate", 5000, "--seconds", 2 * machine.seconds, "--warmup", 1]
    try:
        with Serve(machine, data_dir) as broker:
            broker.bench("produce", "--topic", "old", "--partitions", 4, "--records", records)
            without = broker.bench("e2e", *load)
            backfill = broker.start("consume", "--topic", "old", "--seconds", 600)
            try:
                during = broker.bench("e2e", *load)
                if backfill.poll() is not None:
                    raise Missing("the backfill ended before the load did")
            finally:
                backfill.kill()
                backfill.wait()
            return {"without_us": without["p99_us"], "with_us": during["p99_us"]}
    finally:
        shutil.rmtree(data_dir)


def both_wires(machine, _):
    """librdkafka as fast as it can, then the native client at that rate, with as many requests of as many bytes in flight."""
    program = machine.example("ouzel-broker-clients", "librdkafka_produce")
    data_dir = directory_of(machine)
    seconds = 2 * machine.seconds
    try:
        with Serve(machine, data_dir, "--set", f"journal.bytes.max={machine.journal_mib}MiB") as broker:
            # Three rounds of the journal first (rule M2).
            broker.bench("produce", "--partitions", 1, "--records", 3 * machine.journal_mib * 1024)
            before = broker.cpu_s()
            sent = json.loads(run([program, broker.kafka, seconds], core=GENERATOR_CORE))
            kafka_cpu_s = broker.cpu_s() - before
            rate = int(sent["records"] / sent["seconds"])
            native = broker.bench("produce", "--partitions", 1, "--batch-bytes", "64KiB", "--connections", 1, "--in-flight", 5,
                                  "--rate", rate, "--seconds", seconds)
        return {"kafka_cpu_s_per_gb": kafka_cpu_s / (sent["records"] * RECORD_BYTES / 1e9), "rate": rate,
                "native_cpu_s_per_gb": native["broker_cpu_s_per_gb"], "native_rate": native["records_per_s"]}
    finally:
        shutil.rmtree(data_dir)


SAMPLES = {
    "produce-1": produce_over(1),
    "produce-1024": produce_over(1024),
    "produce-10000": produce_over(10_000, "zipf"),
    "produce-16k": produce_16k,
    "produce-64k": produce_64k,
    "produce-16-connections": produce_connections(16, 16),
    "produce-1-connection": produce_connections(1, 8),
    "produce-half-load": produce_half_load,
    "fio-write": lambda machine, _: machine.fio("--size=1G", "--bs=1M", "--rw=write", "--fdatasync=1"),
    "fio-read": lambda machine, _: machine.fio("--size=1G", "--bs=1M", "--rw=read"),
    "fio-latency": lambda machine, _: machine.fio("--size=256M", "--bs=64k", "--rw=write", "--fdatasync=1", "--overwrite=1"),
    "fetch-tail": fetch_tail,
    "fetch-disk": fetch_disk,
    "loopback": loopback,
    "parts": parts,
    "timers": timers,
    "costs": costs,
    "empty-broker": empty_broker,
    "restart": restart,
    "many-partitions": many_partitions,
    "hold-idle": hold("idle", 10_000),
    "hold-headers": hold("header-only", 1_000),
    "hold-readers": hold("slow-reader", 200, fill_records=1_000_000),
    "produce-memory": produce_memory,
    "tail-under-backfill": tail_under_backfill,
    "both-wires": both_wires,
}
