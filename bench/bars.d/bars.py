"""The bars: which samples each needs, what is required, and how a verdict follows. Owns the arithmetic of docs/rules.md M1
to M4; starts nothing itself but through run.py. A ratio is taken within each round, and the median of the rounds counts."""

import os
import statistics
from dataclasses import dataclass
from typing import Callable

import samples as take

# A core that is used beyond this is the bottleneck (docs/rules.md M1).
BOUND_SHARE = 0.9
# Two fio rounds further apart than this make a latency bar void (docs/rules.md M4).
FIO_SPREAD_MAX = 1.5
# Rounds of the journal that a throughput bar is measured over (docs/rules.md M2); the last file may be half full.
WRAPS_MIN = 1.8


@dataclass
class Verdict:
    """`holds`, `falls short`, `void` or `not measured`, and the figures."""
    word: str
    measured: str


@dataclass
class Bar:
    """One line of the table."""
    name: str
    required: str
    samples: tuple
    judge: Callable


SAMPLES = take.SAMPLES


def median(rounds, pick):
    return statistics.median(pick(samples) for samples in rounds)


def verdict(is_met, measured):
    return Verdict("holds" if is_met else "falls short", measured)


def cpu_share(report):
    """Share of its core that the broker used."""
    return (report["broker_cpu_s"] or 0.0) / report["seconds"]


def compared(faster, base):
    """How `faster` stands against `base`: by rate, or by CPU per byte where the generator bound either (rule M1)."""
    if faster["client_bound"] or base["client_bound"]:
        return base["broker_cpu_s_per_gb"] / faster["broker_cpu_s_per_gb"], True
    return faster["mb_per_s"] / base["mb_per_s"], False


def judge_compared(name, base, least):
    def judge(rounds):
        ratio = median(rounds, lambda samples: compared(samples[name], samples[base])[0])
        by_cpu = any(compared(samples[name], samples[base])[1] for samples in rounds)
        rates = [median(rounds, lambda samples, at=at: samples[at]["mb_per_s"]) for at in (name, base)]
        how = ", by CPU per byte: client-bound" if by_cpu else ""
        wraps = min(samples[at]["storage"]["wraps"] for samples in rounds for at in (name, base))
        text = f"{ratio:.2f} ({rates[0]:.0f} of {rates[1]:.0f} MB/s{how}, {wraps:.1f} wraps)"
        # What a cap on seconds cut short proves nothing good (docs/rules.md M2).
        return Verdict("void", text) if ratio >= least and wraps < WRAPS_MIN else verdict(ratio >= least, text)
    return judge


def judge_device(rounds):
    ratio = median(rounds, lambda s: s["produce-16k"]["broker_device_bytes"] / s["produce-16k"]["seconds"] / s["fio-write"]["write"]["bw_bytes"])
    amplification = median(rounds, lambda s: s["produce-16k"]["broker_device_bytes"] / s["produce-16k"]["storage"]["batch_bytes"])
    share = median(rounds, lambda s: cpu_share(s["produce-16k"]))
    cpu = median(rounds, lambda s: s["produce-16k"]["broker_cpu_s_per_gb"] / s["parts"]["sum_cpu_s_per_gb"])
    is_fast = ratio >= 0.7 or (share >= BOUND_SHARE and cpu <= 1.5)
    text = f"{ratio:.2f} x fio, {amplification:.2f} device bytes a byte, broker at {share:.0%} of its core ({cpu:.2f} x parts)"
    return verdict(is_fast and amplification <= 2.1, text)


def judge_cpu(rounds):
    ratio = median(rounds, lambda s: s["produce-64k"]["broker_cpu_s_per_gb"] / s["parts"]["sum_cpu_s_per_gb"])
    cpu = median(rounds, lambda s: s["produce-64k"]["broker_cpu_s_per_gb"])
    parts = median(rounds, lambda s: s["parts"]["sum_cpu_s_per_gb"])
    return verdict(ratio <= 1.5, f"{ratio:.2f} ({cpu:.2f} of {parts:.2f} s/GB)")


def judge_tail_fetch(rounds):
    def ratio(samples):
        fetch, bare = samples["fetch-tail"], samples["loopback"]
        if fetch["client_bound"]:
            return bare["cpu_seconds"] / (bare["bytes"] / 1e9) / fetch["broker_cpu_s_per_gb"]
        return fetch["mb_per_s"] / (bare["bytes"] / bare["seconds"] / 1e6)
    value = median(rounds, ratio)
    how = ", by CPU per byte: client-bound" if any(s["fetch-tail"]["client_bound"] for s in rounds) else ""
    rate = median(rounds, lambda s: s["fetch-tail"]["mb_per_s"])
    bare = median(rounds, lambda s: s["loopback"]["bytes"] / s["loopback"]["seconds"] / 1e6)
    return verdict(value >= 0.7, f"{value:.2f} ({rate:.0f} of {bare:.0f} MB/s{how})")


def judge_catch_up(rounds):
    ratio = median(rounds, lambda s: s["fetch-disk"]["mb_per_s"] / (s["fio-read"]["read"]["bw_bytes"] / 1e6))
    rate = median(rounds, lambda s: s["fetch-disk"]["mb_per_s"])
    return verdict(ratio >= 0.7, f"{ratio:.2f} ({rate:.0f} MB/s)")


def judge_latency(rounds):
    references = [take.fio_p999_us(samples["fio-latency"]) for samples in rounds]
    spread = max(references) / min(references)
    value = median(rounds, lambda s: s["produce-half-load"]["p999_us"])
    allowed = 3 * statistics.median(references) + 1000
    text = f"{value / 1000:.1f} ms, allowed {allowed / 1000:.1f} (fio {statistics.median(references) / 1000:.1f}, spread {spread:.1f} x)"
    if spread > FIO_SPREAD_MAX:
        return Verdict("void", text)
    return verdict(value <= allowed, text)


def judge_backfill(rounds):
    ratio = median(rounds, lambda s: s["tail-under-backfill"]["with_us"] / s["tail-under-backfill"]["without_us"])
    with_us, without_us = (median(rounds, lambda s, at=at: s["tail-under-backfill"][at]) for at in ("with_us", "without_us"))
    return verdict(ratio <= 1.5, f"{ratio:.2f} (p99 {with_us / 1000:.1f} ms with, {without_us / 1000:.1f} without)")


def judge_empty(rounds):
    ready, rss, idle = (median(rounds, lambda s, at=at: s["empty-broker"][at]) for at in ("ready_s", "rss", "idle_cpu"))
    text = f"ready {ready * 1000:.0f} ms, {rss / 2**20:.0f} MiB, {idle:.2%}"
    return verdict(ready < 0.150 and rss < 64 * 2**20 and idle < 0.005, text)


def judge_restart(rounds):
    large, small = (median(rounds, lambda s, at=at: s["restart"][at]["ready_s"]) for at in ("large", "small"))
    used = [median(rounds, lambda s, at=at: s["restart"][at]["occupancy"]) for at in ("large", "small")]
    text = f"{large:.2f} s with {rounds[0]['restart']['large']['gb']:.1f} GB, {small:.2f} s with {rounds[0]['restart']['small']['gb']:.1f} GB (journal {used[0]:.0%}, {used[1]:.0%})"
    return verdict(large < 3.0 and large <= small * 1.2, text)


def judge_many_partitions(rounds):
    ready, rss, idle = (median(rounds, lambda s, at=at: s["many-partitions"][at]) for at in ("ready_s", "rss", "idle_cpu"))
    text = f"start {ready:.2f} s, {idle:.2%} idle, {rss / 2**20:.0f} MiB"
    return verdict(ready < 3.0 and idle < 0.01 and rss < 300 * 2**20, text)


def judge_connections(rounds):
    added = median(rounds, lambda s: s["hold-idle"]["broker_rss_bytes_added"])
    opened = min(s["hold-idle"]["opened"] - s["hold-idle"]["ended"] for s in rounds)
    wanted = rounds[0]["hold-idle"]["connections"]
    return verdict(added < 200 * 2**20 and opened == wanted, f"{added / 2**20:.0f} MiB more for {opened} of {wanted}")


def judge_memory(name):
    def judge(rounds):
        used = max(samples[name]["broker_rss_bytes_max"] for samples in rounds)
        return verdict(used <= 512 * 2**20, f"{used / 2**20:.0f} MiB at most")
    return judge


def judge_timers(rounds):
    worst = {kind: median(rounds, lambda s, kind=kind: s["timers"][kind]) for kind in rounds[0]["timers"]}
    text = ", ".join(f"{kind} {late_us / 1000:.2f} ms" for kind, late_us in worst.items())
    return verdict(all(late_us <= 3000 for late_us in worst.values()), f"p99 of sleep 1 ms: {text}")


def judge_costs(rounds):
    costs = rounds[-1]["costs"]
    allocations = max(value for name, value in costs.items() if name.startswith("allocations"))
    copies = {name.removeprefix("copies_"): value for name, value in costs.items() if name.startswith("copies")}
    is_met = (allocations <= 2.0 and costs["allocations_per_record"] <= 0.0 and copies["produce"] <= 2.01
              and copies["fetch"] <= 0.0 and copies["fetch_across"] <= 1.0)
    text = ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in costs.items())
    return verdict(is_met, text)


def judge_wires(rounds):
    """Both generators may be what bounds the rate: CPU is compared, at one rate (rule M1)."""
    ratio = median(rounds, lambda samples: samples["both-wires"]["kafka_cpu_s_per_gb"] / samples["both-wires"]["native_cpu_s_per_gb"])
    kafka = median(rounds, lambda samples: samples["both-wires"]["kafka_cpu_s_per_gb"])
    native = median(rounds, lambda samples: samples["both-wires"]["native_cpu_s_per_gb"])
    rate = median(rounds, lambda samples: samples["both-wires"]["rate"])
    return verdict(ratio <= 1.2, f"{ratio:.2f} x ({kafka:.2f} of {native:.2f} s/GB at {rate:.0f} records/s)")


BARS = [
    Bar("partitions-1024", ">= 0.8 x one partition", ("produce-1", "produce-1024"), judge_compared("produce-1024", "produce-1", 0.8)),
    Bar("partitions-10000", ">= 0.5 x one partition", ("produce-1", "produce-10000"), judge_compared("produce-10000", "produce-1", 0.5)),
    Bar("device", ">= 0.7 x fio or CPU-bound, <= 2.1 x", ("fio-write", "produce-16k", "parts"), judge_device),
    Bar("cpu", "<= 1.5 x parts alone", ("parts", "produce-64k"), judge_cpu),
    Bar("kafka-wire", "<= 1.2 x native CPU/GB", ("both-wires",), judge_wires),
    Bar("tail-fetch", ">= 0.7 x bare loopback", ("loopback", "fetch-tail"), judge_tail_fetch),
    Bar("catch-up", ">= 0.7 x fio read", ("fio-read", "fetch-disk"), judge_catch_up),
    Bar("pipelining", ">= 0.8 x 16 connections", ("produce-16-connections", "produce-1-connection"),
        judge_compared("produce-1-connection", "produce-16-connections", 0.8)),
    Bar("latency", "p99.9 <= 3 x fio + 1 ms", ("produce-16k", "fio-latency", "produce-half-load"), judge_latency),
    Bar("backfill", "tail p99 <= 1.5 x without", ("tail-under-backfill",), judge_backfill),
    Bar("timers", "p99 <= 3 ms, both executors", ("timers",), judge_timers),
    Bar("costs", "<= 2 allocations, copies 2, 0, 1", ("costs",), judge_costs),
    Bar("empty", "< 150 ms, < 64 MiB, < 0.5 %", ("empty-broker",), judge_empty),
    Bar("restart", "< 3 s, <= 1.2 x that of 0.5 GB", ("restart",), judge_restart),
    Bar("many-partitions", "< 3 s, < 1 %, < 300 MiB", ("many-partitions",), judge_many_partitions),
    Bar("connections", "10,000 idle < 200 MiB", ("hold-idle",), judge_connections),
    Bar("memory-produce", "<= 512 MiB", ("produce-memory",), judge_memory("produce-memory")),
    Bar("memory-headers", "<= 512 MiB", ("hold-headers",), judge_memory("hold-headers")),
    Bar("memory-readers", "<= 512 MiB", ("hold-readers",), judge_memory("hold-readers")),
]
