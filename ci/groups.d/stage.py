"""Where a scenario is played: processes that hold members, the flow of records, and waiting until something is so."""
import itertools
import json
import os
import socket
import subprocess
import threading
import time

import ledger

HERE = os.path.dirname(os.path.abspath(__file__))
# Nothing that a scenario waits for takes as long; it is a bound and no measure.
WAIT_S = 45
SESSION_MS = 6000
# Records a second and partition.
RATE = 20
# For the records on their way when a flow ends.
FLOW_END_S_MAX = 90


class Fault(Exception):
    """What did not come about."""


class Host:
    """A process with members of one client. What they say is heard in a thread, and kept in a file as well."""

    def __init__(self, command, environment, log):
        self.log, self.members, self.changed = log, {}, threading.Condition()
        self.errors = open(log + ".err", "ab")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
                                        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **(environment or {})})
        self.listener = threading.Thread(target=self.listen, daemon=True)
        self.listener.start()

    def listen(self):
        with open(self.log, "ab", buffering=0) as kept:
            for line in self.process.stdout:
                kept.write(line)
                if not line.endswith(b"\n"):
                    # It was killed in the middle of saying it.
                    break
                event = json.loads(line)
                with self.changed:
                    self.members[event["m"]].events.append(event)
                    self.changed.notify_all()

    def tell(self, member, **command):
        with self.changed:
            self.members.setdefault(command["name"], member)
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        self.process.stdin.flush()

    def kill(self):
        """kill -9 of the process and all its members."""
        self.process.kill()
        self.process.wait()
        died = time.monotonic_ns()
        # What it had said before is still on its way.
        self.listener.join()
        self.errors.close()
        for member in self.members.values():
            member.died = min(member.died, died)


class Flow:
    """Records that keep coming into some topics."""

    def __init__(self, keeper, topics, rate, log):
        # The interpreter of the keeper has what it takes.
        command = [keeper.command[0], os.path.join(HERE, "flow.py"), keeper.bootstrap, json.dumps(topics), str(rate)]
        with open(log, "ab") as errors:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        self.log = log

    def widen(self, topics):
        """These are new, or have more partitions."""
        self.process.stdin.write(json.dumps(topics).encode() + b"\n")
        self.process.stdin.flush()

    def stop(self):
        """How far each partition got."""
        said, _ = self.process.communicate(timeout=FLOW_END_S_MAX)
        if self.process.returncode:
            raise Fault(f"the flow of records ended with {self.process.returncode}; its log: {self.log}")
        return json.loads(said)


class Client:
    """One of the clients, and how its members are started. `protocol` is that of its groups."""

    def __init__(self, name, command, environment, bootstrap, logs, protocol="classic"):
        self.name, self.command, self.environment, self.logs, self.protocol = name, [*command, bootstrap], environment, logs, protocol
        self.hosts, self.shared, self.lock = [], None, threading.Lock()

    def host(self):
        with self.lock:
            self.hosts.append(Host(self.command, self.environment, os.path.join(self.logs, f"{self.name.replace(', ', '-')}-{len(self.hosts)}")))
            return self.hosts[-1]

    def common(self):
        """The process of all members that nobody will kill."""
        with self.lock:
            have = self.shared
        if have is None:
            have = self.host()
            with self.lock:
                self.shared = self.shared or have
        return self.shared

    def stop(self):
        for host in self.hosts:
            if host.process.poll() is None:
                host.kill()


class Mixed:
    """Clients that take turns in giving a group its members."""

    def __init__(self, name, clients):
        self.name, self.clients, self.turns = name, clients, itertools.cycle(clients)
        self.logs, self.protocol, self.lock = clients[0].logs, clients[0].protocol, threading.Lock()

    def next(self):
        with self.lock:
            return next(self.turns)

    def host(self):
        return self.next().host()

    def common(self):
        return self.next().common()

    def stop(self):
        for client in self.clients:
            client.stop()


class Stage:
    """One group of one client, its topics and its flow of records."""

    def __init__(self, client, keeper, name, topics, group=None, flow=True, rate=RATE, **settings):
        self.client, self.keeper, self.group, self.topics = client, keeper, group or name, topics
        self.settings = {"group": self.group, "topics": list(topics), "session_ms": SESSION_MS, "commit_ms": 200,
                         "protocol": client.protocol, **settings}
        self.members, self.flow, self.hosts, self.ends = {}, None, {}, None
        if flow:
            self.ask("create", topics=topics)
            self.flow = Flow(keeper, topics, rate * sum(topics.values()), os.path.join(client.logs, f"flow-{name}.err"))

    def ask(self, verb, **arguments):
        reply = self.keeper.call(verb, **arguments)
        if "ok" not in reply:
            raise Fault(f"{verb}: {reply['error']['text'] if 'error' in reply else reply}")
        return reply["ok"]

    def widen(self, verb, topics):
        """`verb`: `create` for new topics, `grow` for more partitions of those that are there."""
        self.ask(verb, topics=topics)
        self.topics.update(topics)
        self.flow.widen(topics)

    def places(self):
        return {f"{topic}/{p}" for topic, partitions in self.topics.items() for p in range(partitions)}

    def start(self, name, host=None, **settings):
        """A member, in the common process or in a host of its own that can be killed."""
        spelled = f"{self.group}-{name}"
        member = ledger.Member(spelled)
        self.members[name], self.hosts[name] = member, host or self.client.common()
        self.hosts[name].tell(member, do="start", **{**self.settings, **settings, "name": spelled})
        return member

    def start_all(self, names, host=None, **settings):
        return [self.start(name, host, **settings) for name in names]

    def alone(self, name, **settings):
        """A member in a process of its own, which can be killed."""
        return self.start(name, self.client.host(), **settings)

    def kill(self, name):
        self.hosts[name].kill()

    def close(self, name):
        """Leaves in good order; returns when it is gone."""
        member = self.members[name]
        self.hosts[name].tell(member, do="close", name=member.name)
        self.until(lambda: member.said("closed") or member.said("failed"), f"{member.name} is closed")

    def living(self):
        return [m for m in self.members.values() if m.died == ledger.FOREVER and not m.said("closed")]

    def until(self, condition, what, wait_s=WAIT_S):
        deadline = time.monotonic() + wait_s
        while not condition():
            for member in self.members.values():
                for event in member.said("failed"):
                    raise Fault(f"{member.name} failed: {event['why']}")
            if time.monotonic() > deadline:
                shown = {m.name: sorted(m.owned()) for m in self.living()}
                raise Fault(f"not within {wait_s} s: {what}; owned: {shown}")
            time.sleep(0.02)

    def shares(self):
        """How much each living member owns, where together they own everything once; else nothing."""
        owned = [m.owned() for m in self.living()]
        whole = sum(map(len, owned)) == len(self.places()) and set().union(*owned) == self.places()
        return sorted(map(len, owned), reverse=True) if whole else None

    def until_shared(self, *wanted):
        self.until(lambda: self.shares() == sorted(wanted, reverse=True), f"the members own {wanted}")
        self.until(self.described, "DescribeGroups says what the members say")

    def until_balanced(self):
        """Everything is owned, within one by every member, and the broker says the same."""
        def balanced():
            shares = self.shares()
            return shares is not None and shares[0] - shares[-1] <= 1

        self.until(balanced, "everything is owned, within one by everybody")
        self.until(self.described, "DescribeGroups says what the members say")

    def described(self):
        found = self.ask("describe", group=self.group)
        return found == {"state": "STABLE", "members": {m.name: sorted(m.owned()) for m in self.living()}}

    def progressed(self, count=20):
        """Every partition moves on, from now, by so many records."""
        before = ledger.processed(self.members.values())
        self.until(lambda: all(ledger.processed(self.members.values()).get(place, 0) >= before.get(place, 0) + count
                               for place in self.places()), "every partition is processed further")

    def drained(self):
        """The flow ends, and everything in it gets processed."""
        if self.ends is None:
            self.ends = self.flow.stop()
        self.until(lambda: not ledger.missing(self.members.values(), self.ends), "everything that was produced is processed")

    def close_all(self):
        """Everybody leaves at once."""
        leaving = [(name, m) for name, m in self.members.items() if m in self.living()]
        for name, member in leaving:
            self.hosts[name].tell(member, do="close", name=member.name)
        self.until(lambda: all(m.said("closed") for _, m in leaving), "everybody has left")

    def end(self):
        """Whatever is left of it. Its members are those of their hosts."""
        if self.flow and self.flow.process.poll() is None:
            self.flow.process.kill()
            self.flow.process.wait()

    def judged(self, **rules):
        return ledger.checked(list(self.members.values()), self.ends, **rules)


def advertised(broker):
    """The keys of the apis that the broker offers, asked with ApiVersions version 0."""
    host, port = broker.bootstrap.rsplit(":", 1)
    body = b"\x00\x12\x00\x00\x00\x00\x00\x07\xff\xff"
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(len(body).to_bytes(4, "big") + body)
        whole = b""
        while len(whole) < 4 or len(whole) < 4 + int.from_bytes(whole[:4], "big"):
            part = connection.recv(65536)
            if not part:
                raise RuntimeError("no answer to ApiVersions")
            whole += part
    count = int.from_bytes(whole[10:14], "big")
    return {int.from_bytes(whole[14 + 6 * at:16 + 6 * at], "big") for at in range(count)}
