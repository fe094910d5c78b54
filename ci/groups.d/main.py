"""ci/groups: see there."""
import argparse
import os
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

HERE = os.path.dirname(os.path.abspath(__file__))
CLIENTS = os.path.join(HERE, "..", "clients.d")
sys.path.append(CLIENTS)
# What is imported below from there: the brokers, the installation of clients, results and tables.
os.environ["PYTHONPATH"] = CLIENTS

import brokers
import drivers
import install
import matrix

import broker_kills
import group_command
import resume
import scenarios
import self_test
import stage

# Scenarios that are played side by side: most of their time is waiting.
AT_ONCE = 5
CONSUMER_GROUP_HEARTBEAT = 68
NOT_OFFERED = f"the broker does not offer ConsumerGroupHeartbeat (key {CONSUMER_GROUP_HEARTBEAT})"
SETTINGS = {"group.initial.rebalance.delay.ms": "0", "group.consumer.session.timeout.ms": str(stage.SESSION_MS),
            "group.consumer.min.session.timeout.ms": str(stage.SESSION_MS), "group.consumer.heartbeat.interval.ms": "500",
            "group.consumer.min.heartbeat.interval.ms": "500"}


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--only", action="append", default=[], choices=scenarios.ALL)
    parser.add_argument("--scenario", action="append", default=[], choices=[*scenarios.SCENARIOS, resume.NAME])
    parser.add_argument("--broker", choices=["ouzel", "kafka"], default="ouzel")
    parser.add_argument("--ouzel")
    parser.add_argument("--native", help="the program of native members")
    parser.add_argument("--target")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--keep", action="store_true")
    return parser.parse_args()


def main():
    asked = arguments()
    if asked.self_test:
        return self_test.run()
    run = os.path.join(asked.target, "groups", "runs", time.strftime("%H%M%S") + f"-{os.getpid()}")
    logs = os.path.join(run, "logs")
    os.makedirs(logs)
    installed = install.Installed(os.path.join(asked.target, "clients"), os.path.join(asked.target, "clients", "install.log"))
    results = matrix.Results()
    results.judge("ledger", "self-test", "; ".join(self_test.faults()))
    try:
        broker = the_broker(asked, installed, os.path.join(run, "broker"))
        # Every scenario is observed by one of the clients.
        python = installed.python()
    except install.Unavailable as why:
        results.skipped += skipped("all scenarios", why)
        return ended(results)
    try:
        ready_s = broker.start()
        print(f"{broker.name} at {broker.bootstrap}, ready after {ready_s:.2f} s; logs: {logs}", flush=True)
        if asked.kill:
            the_kills(asked, installed, python, broker, results, logs)
        else:
            all_scenarios(asked, installed, python, broker, results, logs)
    except Exception as error:
        # Whatever it was, the summary comes last.
        if not isinstance(error, (RuntimeError, stage.Fault)):
            traceback.print_exc()
        results.judge(broker.name, "run", str(error) or type(error).__name__)
    finally:
        broker.stop()
    for client, column, faults in results.failures:
        print(f"{client}, {column}: {faults}")
    if results.failures:
        print(f"ledgers of the members: {logs}; log of the broker: {broker.log}")
    elif not asked.keep:
        brokers.remove(run)
    return ended(results)


def ended(results):
    print(f"{results.passed} passed, {results.failed} failed, {results.skipped} skipped")
    return 1 if results.failed else 0


def the_broker(asked, installed, directory):
    if asked.broker == "kafka":
        return brokers.Kafka(installed.jars(), directory, settings=SETTINGS)
    # Settings of the new protocol are there when the protocol is.
    known = subprocess.run([asked.ouzel, "config", "--explain"], stdout=subprocess.PIPE, text=True, check=True).stdout
    words = [word for name, value in SETTINGS.items() if name in known for word in ("--set", f"{name}={value}")]
    # Two shards, so that coordinators and what they coordinate are apart.
    return brokers.Ouzel(asked.ouzel, directory, shards=2, extra=words)


def kinds(asked, installed, broker, logs):
    """name -> function that gives the client, or raises Unavailable."""
    bootstrap = broker.bootstrap
    here = lambda name: os.path.join(HERE, name)
    python = lambda name: ([installed.python(), here(name)], {"PYTHONPATH": CLIENTS})
    java = lambda: (["java", "-Xmx256M", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", installed.java_of(here("Members.java")),
                     "Members"], None)
    ways = {
        "confluent-kafka": lambda: python("member_confluent.py"),
        "kafka-python": lambda: python("member_kafka_python.py"),
        "aiokafka": lambda: python("member_aiokafka.py"),
        "kafka-clients": java,
        "kafkajs": lambda: (["node", here("member_kafkajs.js")], {"NODE_PATH": installed.node()}),
    }
    made = {name: lambda name=name, way=way: stage.Client(name, *way(), bootstrap, logs) for name, way in ways.items()}
    for name in ("confluent-kafka", "kafka-clients"):
        made[f"{name}, consumer"] = lambda name=name: stage.Client(f"{name}, consumer", *ways[name](), bootstrap, logs, "consumer")
    if asked.broker == "ouzel":
        made[scenarios.NATIVE] = lambda: stage.Client(scenarios.NATIVE, [asked.native], None, broker.native, logs, "consumer")
        made[scenarios.MIXED] = lambda: stage.Mixed(scenarios.MIXED, [made[name]() for name in (scenarios.NATIVE, "confluent-kafka, consumer")])
    return made


class Play:
    """What a scenario gets: one client, an observer of its own, and names that nobody else has."""

    def __init__(self, client, title, keeper, make_tools=None):
        self.client, self.keeper, self.stages, self.make_tools, self.tools = client, keeper, [], make_tools, None
        self.prefix = "-".join([*client.name.replace(",", "").split(), *title.split()])

    def stage(self, topics, name=None, **settings):
        own = f"{self.prefix}-{name}" if name else self.prefix
        self.stages.append(stage.Stage(self.client, self.keeper, own, {f"{self.prefix}-{topic}": count for topic, count in topics.items()},
                                       **settings))
        return self.stages[-1]

    def end(self):
        """Also of what failed, so that it costs the others no time."""
        for one in self.stages:
            one.end()
        self.keeper.stop()
        if self.tools:
            self.tools.stop()

    def group_command(self):
        self.tools = self.make_tools()
        self.tools.start()
        return group_command.GroupCommand(self.tools)

    def beside(self, other, name):
        """Another group that reads what the flow of the first one brings."""
        return stage.Stage(self.client, self.keeper, f"{self.prefix}-{name}", other.topics, flow=False)


def keeper(python, bootstrap, logs, title):
    found = drivers.Client(f"keeper-{title.replace(' ', '-')}", [python, os.path.join(HERE, "keeper.py")], logs, bootstrap)
    found.start()
    return found


def kafka_tools(installed, bootstrap, logs, title):
    """Kafka's scripts, where its jars can be had; not started."""
    kind, command, _ = drivers.kinds(installed)["kafka-tools"]()
    return kind(f"tools-{title.replace(' ', '-')}", command, logs, bootstrap)


def the_kills(asked, installed, python, broker, results, logs):
    offered, ways, clients = stage.advertised(broker), kinds(asked, installed, broker, logs), []
    for name in ("confluent-kafka", scenarios.MIXED if scenarios.MIXED in ways else "confluent-kafka, consumer"):
        if name not in scenarios.CLASSIC and CONSUMER_GROUP_HEARTBEAT not in offered:
            results.skipped += skipped(name, NOT_OFFERED)
        else:
            clients.append(ways[name]())
    observer = keeper(python, broker.bootstrap, logs, "kills")
    try:
        broker_kills.run(asked, clients, broker, observer, results)
    finally:
        observer.stop()
        for client in clients:
            client.stop()


def skipped(name, why):
    print(f"skipped: {name}: {why}", flush=True)
    return 1


def all_scenarios(asked, installed, python, broker, results, logs):
    started, clients = time.monotonic(), {}
    offers_consumer = CONSUMER_GROUP_HEARTBEAT in stage.advertised(broker)
    for name, recipe in kinds(asked, installed, broker, logs).items():
        if asked.only and name not in asked.only:
            continue
        if name not in scenarios.CLASSIC and not offers_consumer:
            results.skipped += skipped(name, NOT_OFFERED)
            continue
        try:
            clients[name] = recipe()
        except install.Unavailable as why:
            results.skipped += skipped(name, why)
    lock = threading.Lock()

    def judge(client, title, faults):
        with lock:
            # One check for each cell: all its faults together.
            results.judge(client.name, title, "; ".join(f"{what}: {fault}" for what, fault in faults.items() if fault))

    def played(title, client):
        began, play = time.monotonic(), None
        try:
            spelled = f"{client.name} {title}".replace(",", "")
            play = Play(client, title, keeper(python, broker.bootstrap, logs, spelled), lambda: kafka_tools(installed, broker.bootstrap, logs, spelled))
            judge(client, title, scenarios.SCENARIOS[title](play))
        except install.Unavailable as why:
            with lock:
                results.skipped += skipped(f"{title}, {client.name}", why)
        except (stage.Fault, RuntimeError, OSError) as fault:
            judge(client, title, {title: str(fault)})
        except Exception as error:
            traceback.print_exc()
            judge(client, title, {title: repr(error)})
        finally:
            if play:
                play.end()
        print(f"{title}, {client.name}: {time.monotonic() - began:.1f} s", flush=True)

    wanted = [(title, clients[name]) for title, function in scenarios.SCENARIOS.items() for name in function.clients
              if name in clients and (title in asked.scenario or not asked.scenario and (asked.all or name not in function.long))]
    try:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for done in [pool.submit(played, *one) for one in wanted]:
                done.result()
        if not asked.scenario or resume.NAME in asked.scenario:
            the_restart(clients.values(), python, broker, logs, lambda client, faults: judge(client, resume.NAME, faults))
    finally:
        for client in clients.values():
            client.stop()
    print(f"done after {time.monotonic() - started:.0f} s\n")
    print(shown(results, clients))


def the_restart(clients, python, broker, logs, judge):
    began = time.monotonic()
    plays = [Play(client, resume.NAME, keeper(python, broker.bootstrap, logs, f"{client.name} {resume.NAME}".replace(",", "")))
             for client in clients]
    try:
        resume.play(plays, broker, judge)
    finally:
        for play in plays:
            play.end()
    print(f"{resume.NAME}: {time.monotonic() - began:.1f} s", flush=True)


def shown(results, clients):
    """A row a scenario, a column a client."""
    titles = [title for title in [*scenarios.SCENARIOS, resume.NAME] if any(column == title for _, column in results.cells)]
    columns = [name for name in scenarios.ALL if name in clients]
    rows = [["scenario", *columns], *([title, *(results.cells.get((name, title), "–") for name in columns)] for title in titles)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


sys.exit(main())
