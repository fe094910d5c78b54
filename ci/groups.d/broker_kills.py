"""ci/groups --kill: the broker is killed with -9 at random moments, in the middle of rebalances and commits, and started again on
the same data and port under the members of one group. Every acknowledged commit must be there after the restart, no committed offset
may go back, the group recovers, and in the end every record is processed."""
import random
import time

import ledger
import stage

# Members at first, and the most there are.
MEMBERS, MEMBERS_MIN, MEMBERS_MAX = 6, 3, 8
PARTITIONS = 12
COMMIT_MS = 20
# How long after the beginning of a change the broker dies, at most; a rebalance takes a good part of it.
MOMENT_S_MAX = 0.4
DOWN_S_MAX = 0.5
TITLES = ("commits are there after the restart", "no committed offset goes back", "nothing is committed that was not processed")


def run(asked, clients, broker, observer, results):
    """`clients`: those whose groups take part, each with a group of its own. `observer`: asks the broker from outside."""
    seed = asked.seed if asked.seed is not None else random.randrange(1 << 31)
    print(f"seed {seed}, {asked.rounds} rounds", flush=True)
    groups = [Group(client, observer, random.Random(seed + at), results) for at, client in enumerate(clients)]
    chance = random.Random(seed - 1)
    try:
        rounds(asked.rounds, groups, broker, chance)
    finally:
        for group in groups:
            group.stage.end()


def rounds(count, groups, broker, chance):
    for group in groups:
        group.began()
    for number in range(1, count + 1):
        doing = [group.change() for group in groups]
        moment_s, down_s = chance.random() * MOMENT_S_MAX, chance.random() * DOWN_S_MAX
        time.sleep(moment_s)
        broker.kill()
        time.sleep(down_s)
        ready_s = broker.start()
        for group in groups:
            group.compare(number)
        began = time.monotonic()
        for group in groups:
            group.recovered(number)
        print(f"round {number}: {', '.join(doing)}; killed {moment_s * 1000:.0f} ms later, down {down_s:.2f} s, ready after {ready_s:.2f} s, "
              f"groups recovered after {time.monotonic() - began:.1f} s", flush=True)
    for group in groups:
        group.ended()


class Group:
    def __init__(self, client, observer, chance, results):
        self.client, self.chance, self.results = client, chance, results
        self.stage = stage.Stage(client, observer, f"killed-{client.protocol}", {f"killed-{client.protocol}": PARTITIONS}, commit_ms=COMMIT_MS)
        self.started, self.committed, self.leaving = 0, {}, set()

    def judge(self, number, title, faults):
        fault = ledger.some(faults)
        self.results.judge(self.client.name, "kill", f"round {number}, {title}: {fault}" if fault else "")

    def began(self):
        for _ in range(MEMBERS):
            self.join()
        self.stage.until_balanced()
        self.stage.progressed()

    def join(self):
        self.started += 1
        self.stage.alone(f"m{self.started:03}")
        return f"m{self.started:03}"

    def staying(self):
        return [name for name, member in self.stage.members.items() if member in self.stage.living() and name not in self.leaving]

    def change(self):
        """Begins something that leads to a rebalance, or nothing."""
        there = self.staying()
        ways = ["steady"]
        ways += ["join"] * (len(there) < MEMBERS_MAX)
        ways += ["leave", "member killed"] * (len(there) > MEMBERS_MIN)
        way = self.chance.choice(ways)
        if way == "join":
            return f"{self.join()} joins"
        if way == "steady":
            return "commits only"
        name = self.chance.choice(there)
        if way == "member killed":
            self.stage.kill(name)
            return f"{name} is killed"
        self.leaving.add(name)
        self.stage.hosts[name].tell(self.stage.members[name], do="close", name=self.stage.members[name].name)
        return f"{name} leaves"

    def compare(self, number):
        """Every commit that was acknowledged by now is in what OffsetFetch says, at least."""
        asked_at = time.monotonic_ns()
        found = {place: offset for place, (offset, _) in self.stage.ask("committed", group=self.stage.group).items()}
        members = list(self.stage.members.values())
        acknowledged = {}
        for at, place, offset, name in ledger.acks(members):
            if at < asked_at and offset >= acknowledged.get(place, (0, ""))[0]:
                acknowledged[place] = (offset, name)
        self.judge(number, TITLES[0], [f"{place}: {name} had {offset} acknowledged, OffsetFetch says {found.get(place, 'nothing')}"
                                       for place, (offset, name) in sorted(acknowledged.items()) if found.get(place, -1) < offset])
        self.judge(number, TITLES[1], [f"{place}: {before}, then {found.get(place, 'nothing')}" for place, before in sorted(self.committed.items())
                                       if found.get(place, -1) < before])
        done = ledger.processed(members)
        self.judge(number, TITLES[2], [f"{place}: {offset} is committed, {done.get(place, 0)} was processed" for place, offset in
                                       sorted(found.items()) if offset > done.get(place, 0)])
        self.committed = found

    def recovered(self, number):
        self.stage.until(lambda: all(self.stage.members[name].said("closed") for name in self.leaving), "those that leave are gone")
        self.stage.until_balanced()
        self.stage.progressed(5)
        self.judge(number, "the group recovers", [])

    def ended(self):
        self.stage.drained()
        self.stage.close_all()
        for title, fault in self.stage.judged().items():
            self.judge("all", title, [fault] if fault else [])
            print(f"{self.client.name}, {title}: {fault or 'holds'}", flush=True)
