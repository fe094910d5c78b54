"""ci/clients: see there."""
import argparse
import json
import os
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import brokers
import drivers
import features
import install
import kill
import matrix
import table

HERE = os.path.dirname(os.path.abspath(__file__))
EXPECTED = os.path.join(HERE, "expected.json")
# Where ouzel answers otherwise than Kafka, on purpose: a list of features, steps, reasons, and what each client then says.
DIFFERS = os.path.join(HERE, "differs.json")


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--feature", action="append", default=[])
    parser.add_argument("--bootstrap")
    parser.add_argument("--broker", choices=["ouzel", "kafka", "start"], default="ouzel")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--ouzel")
    parser.add_argument("--target", required=True)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--keep", action="store_true")
    return parser.parse_args()


def main():
    asked = arguments()
    run = os.path.join(asked.target, "clients", "runs", time.strftime("%H%M%S") + f"-{os.getpid()}")
    logs = os.path.join(run, "logs")
    os.makedirs(logs)
    installed = install.Installed(os.path.join(asked.target, "clients"), os.path.join(asked.target, "clients", "install.log"))
    try:
        broker = the_broker(asked, installed, run)
    except install.Unavailable as why:
        print(f"skipped: Apache Kafka cannot be had: {why}")
        print("0 passed, 0 failed, 1 skipped")
        return 0
    results = matrix.Results()
    try:
        ready_s = broker.start()
        print(f"{broker.name} at {broker.bootstrap}, ready after {ready_s:.2f} s; logs: {logs}", flush=True)
        if asked.kill:
            kill.run(asked, installed, broker, results, logs)
        else:
            the_matrix(asked, installed, broker, results, logs)
    except Exception as error:
        # Whatever it was, the summary comes last.
        if not isinstance(error, RuntimeError):
            traceback.print_exc()
        results.judge(broker.name, "run", str(error) or type(error).__name__)
    finally:
        broker.stop()
    for client, column, faults in results.failures:
        print(f"{client}, {column}: {faults}")
    if results.failures:
        print(f"logs of the clients: {logs}; of the broker: {broker.log}")
    elif not asked.keep:
        brokers.remove(run)
    print(f"{results.passed} passed, {results.failed} failed, {results.skipped} skipped")
    return 1 if results.failed else 0


def the_broker(asked, installed, run):
    directory = os.path.join(run, "broker")
    if asked.bootstrap:
        return brokers.Running(asked.bootstrap)
    if asked.broker == "kafka":
        return brokers.Kafka(installed.jars(), directory)
    if asked.broker == "start":
        return brokers.Started(directory)
    return brokers.Ouzel(asked.ouzel, directory)


def the_matrix(asked, installed, broker, results, logs):
    started, clients = time.monotonic(), []
    wanted = drivers.kinds(installed)
    for name, recipe in wanted.items():
        if asked.only and name not in asked.only:
            continue
        try:
            kind, command, environment = recipe()
        except install.Unavailable as why:
            print(f"skipped: {name}: {why}", flush=True)
            results.skipped += 1
            results.cells[name, "version"] = "skipped"
            continue
        client = kind(name, command, logs, broker.bootstrap, environment)
        try:
            client.start()
        except RuntimeError as error:
            results.judge(name, "starts", str(error))
            continue
        results.cells[name, "version"] = client.version
        clients.append(client)
    print(f"{len(clients)} clients at hand after {time.monotonic() - started:.0f} s", flush=True)
    if not any(client.profile == "full" for client in clients):
        print("skipped: nobody is left who can make topics")
        results.skipped += len(clients)
        return
    # Makes topics for those that cannot, and looks at what the others did.
    helper = helper_of(clients, logs, "matrix")
    try:
        base = int(time.time() * 1000) - 600_000
        prefix = f"c{os.getpid()}"
        count, codec_count = (100_000, 2_000) if asked.all else (10_000, 500)
        if not asked.feature or "matrix" in asked.feature:
            matrix.run(clients, helper, results, prefix, base, count, codec_count, logs)
            print(f"everything read by everyone after {time.monotonic() - started:.0f} s", flush=True)
        the_features(asked, clients, results, prefix, base, logs)
    finally:
        for client in {*clients, helper}:
            client.stop()
    print(f"done after {time.monotonic() - started:.0f} s\n")
    shown = table.shown(results)
    print(shown)
    if asked.all and not asked.only and not asked.feature and not asked.bootstrap and asked.broker == "ouzel":
        table.write(shown, DIFFERS)


def helper_of(clients, logs, name):
    """A process of its own, so that a client is never asked by itself: librdkafka's, or the first that can make topics."""
    first = next((c for c in clients if c.name == "confluent-kafka"), None) or next(c for c in clients if c.profile == "full")
    helper = type(first)(first.name, first.command[:-1], logs, first.bootstrap, first.environment)
    helper.log = os.path.join(logs, f"helper-{name}.log")
    helper.start()
    return helper


def the_features(asked, clients, results, prefix, base, logs):
    expected, differences = {}, []
    if os.path.exists(EXPECTED):
        with open(EXPECTED) as file:
            expected = json.load(file)
    if asked.broker != "kafka":
        with open(DIFFERS) as file:
            differences = json.load(file)
    names = [name for name in features.FEATURES if not asked.feature or name in asked.feature]

    def row(client):
        """All features of one client, in order; rows are made side by side, for most of their time is waiting."""
        own = helper_of(clients, logs, client.name)
        try:
            return {name: features.run(name, client, own, f"{prefix}-{client.name}-{name.replace(' ', '-')}", base) for name in names}
        finally:
            own.stop()

    with ThreadPoolExecutor(4) as pool:
        rows = dict(zip(clients, pool.map(row, clients)))
    for client, found in rows.items():
        for name, (outcomes, can) in found.items():
            if asked.record:
                expected.setdefault(name, {})[client.name] = outcomes
            wanted = expected.get(name, {}).get(client.name)
            known = [(mark, differs) for mark, differs in enumerate(differences, 1)
                     if differs["feature"] == name and client.name in differs["clients"]]
            if wanted is not None:
                wanted = wanted | {differs["step"]: differs["clients"][client.name] for _, differs in known}
            if not can:
                results.none(client.name, name)
            elif wanted is None:
                results.judge(client.name, name, "no outcome of Apache Kafka is recorded: ci/clients --all --broker kafka --record")
            else:
                results.judge(client.name, name, "; ".join(
                    f"{title}: expected {wanted.get(title)!r}, got {outcomes.get(title)!r}"
                    for title in {**wanted, **outcomes} if wanted.get(title) != outcomes.get(title)))
                results.differs(client.name, name, [mark for mark, _ in known])
    if asked.record:
        with open(EXPECTED, "w") as file:
            json.dump(expected, file, indent=1, sort_keys=True, ensure_ascii=False)
            file.write("\n")


sys.exit(main())
