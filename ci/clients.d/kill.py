"""ci/clients --kill: an idempotent producer keeps sending while the broker is killed with -9 and started again. Afterwards every
record that was acknowledged is there at its offset, none twice, and each partition holds its records in the order they were sent."""
import json
import os
import random
import subprocess
import time

import install

HERE = os.path.dirname(os.path.abspath(__file__))
RECORDS = 100_000
PARTITIONS = 4


def run(asked, installed, broker, results, logs):
    if not hasattr(broker, "kill"):
        raise RuntimeError("--kill needs a broker that it may kill: not --bootstrap")
    try:
        python = installed.python()
    except install.Unavailable as why:
        print(f"skipped: confluent-kafka: {why}")
        results.skipped += 1
        return
    seed = asked.seed if asked.seed is not None else random.randrange(1 << 31)
    print(f"seed {seed}, {asked.kills} kills, {RECORDS} records in {PARTITIONS} partitions", flush=True)
    chance = random.Random(seed)
    ledger_path = os.path.join(logs, "ledger")
    with open(os.path.join(logs, "producer.log"), "wb") as log:
        producer = subprocess.Popen([python, os.path.join(HERE, "kill_producer.py"), broker.bootstrap, "killed", str(RECORDS),
                                     str(PARTITIONS), ledger_path], stdout=subprocess.PIPE, stderr=log,
                                    env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    try:
        # The kills are spread over the records by how many are acknowledged, so that all fall into the middle of sending.
        moments = sorted(chance.sample(range(RECORDS // 20, RECORDS - RECORDS // 10), asked.kills))
        acked = 0
        for line in producer.stdout:
            acked = int(line)
            if moments and acked >= moments[0]:
                moments.pop(0)
                time.sleep(chance.random() * 0.05)
                broker.kill()
                down_s = chance.random() * 0.5
                time.sleep(down_s)
                ready_s = broker.start()
                print(f"killed after {acked} acknowledgements, down {down_s:.2f} s, ready again after {ready_s:.2f} s", flush=True)
        producer.wait(120)
    finally:
        if producer.poll() is None:
            producer.kill()
            producer.wait()
    if moments:
        results.judge("confluent-kafka", "kill", f"the producer ended before {len(moments)} of the kills; see {logs}/producer.log")
    if producer.returncode:
        results.judge("confluent-kafka", "kill", f"the producer ended with {producer.returncode}; see {logs}/producer.log")
    read = subprocess.run([python, os.path.join(HERE, "kill_reader.py"), broker.bootstrap, "killed", str(PARTITIONS)], stdout=subprocess.PIPE,
                          timeout=180)
    if read.returncode:
        results.judge("confluent-kafka", "kill", f"the reader ended with {read.returncode}")
        return
    logged = [json.loads(line) for line in read.stdout.splitlines()]
    with open(ledger_path) as file:
        ledger = [tuple(map(int, line.split())) for line in file]
    for title, fault in checked(ledger, logged).items():
        results.judge("confluent-kafka", title, fault)
        print(f"{title}: {fault or 'holds'}")


def checked(ledger, logged):
    """`ledger`: (index, partition, offset) of each acknowledgement; `logged`: per partition the (offset, index) that were read."""
    at = {(p, offset): index for p, records in enumerate(logged) for offset, index in records}
    lost = [f"record {index} was acknowledged at partition {p}, offset {offset}; there is {at.get((p, offset), 'nothing')}"
            for index, p, offset in ledger if at.get((p, offset)) != index]
    seen, twice = {}, []
    for p, records in enumerate(logged):
        for offset, index in records:
            if index in seen:
                twice.append(f"record {index} is at partition {p}, offset {offset}, and at partition {seen[index][0]}, offset {seen[index][1]}")
            seen.setdefault(index, (p, offset))
    disorder = [f"partition {p}: record {after[1]} at offset {after[0]} follows record {before[1]}"
                for p, records in enumerate(logged) for before, after in zip(records, records[1:]) if after[1] < before[1]]
    gaps = [f"partition {p}: offset {after[0]} follows {before[0]}"
            for p, records in enumerate(logged) for before, after in zip(records, records[1:]) if after[0] != before[0] + 1]
    missing = [] if len(ledger) == RECORDS else [f"{len(ledger)} of {RECORDS} records were acknowledged"]
    return {"every record acknowledged": some(missing), "none lost or moved": some(lost), "none twice": some(twice),
            "in order": some(disorder), "offsets dense": some(gaps)}


def some(faults):
    return f"{faults[0]} ({len(faults)} such)" if faults else ""
