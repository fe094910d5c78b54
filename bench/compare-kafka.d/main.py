"""bench/compare-kafka: see there. Rounds, medians and the table; what a run is stands in sample.py."""
import argparse
import os
import statistics
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "ci", "clients.d"))

import brokers
import install
import sample

# (what, key of a sample, unit, which way is better, the bar of the ratio ouzel / Kafka or None)
BARS = [
    ("rate", "mib_s", "MB/s", ">=", 1.0),
    ("broker CPU", "cpu_s_gb", "s/GB", "<=", 0.3),
    ("p99 at half of Kafka's rate", "p99_ms", "ms", "<=", 0.5),
    ("the same with acks=0", "floor_ms", "ms", "", None),
    ("start to first message", "first_s", "s", "", None),
    ("resident memory", "resident_mib", "MiB", "", None),
]
# From here on a run says more of the generator than of the broker.
CLIENT_BOUND = 0.9


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", required=True)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--dir", default="/var/tmp")
    parser.add_argument("--ouzel")
    parser.add_argument("--self", action="store_true", dest="against_itself")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--partitions", type=int, default=1)
    parser.add_argument("--warmup-mib", type=int, default=1600)
    return parser.parse_args()


def main():
    asked = arguments()
    root = os.path.join(asked.target, "clients")
    os.makedirs(root, exist_ok=True)
    installed = install.Installed(root, os.path.join(root, "install.log"))
    try:
        jars = installed.jars()
    except install.Unavailable as why:
        print(why, file=sys.stderr)
        return 1
    if asked.check:
        return 0
    client = sample.first_message_client(installed)
    samples = {"Kafka": [], "ouzel": []}
    with tempfile.TemporaryDirectory(prefix="compare-kafka-", dir=asked.dir) as directory:
        for number in range(asked.rounds):
            half = None
            for name in ("Kafka", "ouzel"):
                place = os.path.join(directory, f"{name}-{number}")
                if name == "Kafka" or asked.against_itself:
                    broker = brokers.Kafka(jars, place, cpus=sample.BROKER_CORE)
                else:
                    broker = brokers.Ouzel(asked.ouzel, place, cpus=sample.BROKER_CORE)
                taken = sample.taken(broker, jars, client, asked, half)
                half = half or taken["records_s"] / 2
                samples[name].append(taken)
                print(f"round {number + 1}, {name}: {taken['mib_s']:.0f} MB/s, {taken['cpu_s_gb']:.2f} s/GB, p99 {taken['p99_ms']:.0f} ms "
                      f"at {half:.0f} records/s (generator {taken['half_share'] * 100:.0f} %), first message after {taken['first_s']:.2f} s, {taken['resident_mib']:.0f} MiB, "
                      f"generator {taken['generator_share'] * 100:.0f} % of its core at full rate", flush=True)
                brokers.remove(place)
    return judged(asked, samples)


def judged(asked, samples):
    second = "Kafka again" if asked.against_itself else "ouzel"
    print(f"\nApache Kafka {install.KAFKA}, {sample.SETTINGS}; medians of {asked.rounds} rounds of {asked.seconds} s\n")
    print(f"{'':28} {'Kafka':>10} {second:>12} {'ratio':>7} {'bar':>8}")
    short = 0
    for what, key, unit, way, bar in BARS:
        kafka, ouzel = (statistics.median(taken[key] for taken in samples[name]) for name in ("Kafka", "ouzel"))
        ratio = ouzel / kafka if kafka else float("inf")
        verdict = ""
        if bar is not None:
            holds = ratio >= bar if way == ">=" else ratio <= bar
            verdict = "holds" if holds else "falls short"
            bound = statistics.median(taken["generator_share"] for taken in samples["ouzel"]) > CLIENT_BOUND
            if not holds and key == "mib_s" and bound:
                # Then the rate is the generator's, and the CPU of the broker is what can be compared.
                verdict = "client-bound: judged by CPU"
            elif not holds:
                short += 1
        print(f"{what:28} {kafka:>10.2f} {ouzel:>12.2f} {ratio:>7.2f} {way + ' ' + str(bar) if bar is not None else '':>8}  {unit:6} {verdict}")
    return 1 if short else 0


sys.exit(main())
