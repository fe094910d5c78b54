"""What the members of one group said, and what must be true of it. Pure: from lists of events to faults.

An event is what member.py writes; times are nanoseconds of one clock. A member that was killed ends at its death.
"""
from dataclasses import dataclass, field

FOREVER = 1 << 63


@dataclass(eq=False)
class Member:
    name: str
    events: list = field(default_factory=list)
    died: int = FOREVER

    def owned(self):
        """What it owns now."""
        if self.died != FOREVER:
            return set()
        return next((set(event["at"]) for event in reversed(self.events) if event["e"] == "owns"), set())

    def periods(self):
        """(place, from, until, generation in which it came) of everything it ever owned."""
        found, since = [], {}
        for event in self.said("owns"):
            now = set(event["at"])
            for place in set(since) - now:
                start, generation = since.pop(place)
                found.append((place, start, event["t"], generation))
            for place in now:
                since.setdefault(place, (event["t"], event.get("generation")))
        return found + [(place, start, self.died, generation) for place, (start, generation) in since.items()]

    def generation(self):
        """The last that it was told, where its client shows it."""
        return next((event["generation"] for event in reversed(self.said("owns")) if event.get("generation") is not None), None)

    def said(self, kind):
        return [event for event in self.events if event["e"] == kind]


def processed(members):
    """place -> how far it was processed, one past the last offset, where nothing is missing before it."""
    ends = {}
    for _, place, first, last, _ in reads(members):
        if first <= ends.get(place, 0):
            ends[place] = max(ends.get(place, 0), last + 1)
    return ends


def reads(members):
    return sorted((event["t"], place, first, last, member.name) for member in members for event in member.said("read")
                  for place, (first, last) in event["at"].items())


def acks(members):
    return sorted((event["t"], place, offset, member.name) for member in members for event in member.said("acked")
                  for place, offset in event["at"].items())


def checked(members, ends, each_once=False, all_own=True):
    """Title -> first fault, or nothing where it holds. `ends`: place -> one past its last record. `each_once`: nobody was killed,
    so that nothing may be processed twice. Not `all_own`: the members gave themselves their partitions, alone."""
    found = {
        "every record processed": missing(members, ends),
        "none skipped": skipped(members),
        "no two owners": two_owners(members),
        "processed by its owner": strangers(members) if all_own else [],
        "repeats only what was not committed": repeats(members),
        "no member failed": [f"{member.name}: {event['why']}" for member in members for event in member.said("failed")],
    }
    if each_once:
        found["each record once"] = twice(members)
    return {title: some(faults) for title, faults in found.items()}


def missing(members, ends):
    done = processed(members)
    return [f"{place}: processed up to {done.get(place, 0)} of {end}" for place, end in sorted(ends.items()) if done.get(place, 0) < end]


def skipped(members):
    faults, ends = [], {}
    for _, place, first, last, name in reads(members):
        if first > ends.get(place, 0):
            faults.append(f"{name} processed {place} from {first}; nobody had gone beyond {ends.get(place, 0)}")
        ends[place] = max(ends.get(place, 0), last + 1)
    return faults


def two_owners(members):
    faults, by_place = [], {}
    for member in members:
        for place, start, end, generation in member.periods():
            by_place.setdefault(place, []).append((start, end, member.name, generation))
    for place, periods in sorted(by_place.items()):
        periods.sort()
        for (_, end, name, generation), (start, _, other, later) in zip(periods, periods[1:]):
            if start < end:
                until = "for good" if end == FOREVER else f"{(end - start) / 1e6:.1f} ms longer"
                faults.append(f"{place}: {other} (generation {later}) owned it while {name} (generation {generation}) did, {until}")
    return faults


def strangers(members):
    faults = []
    for member in members:
        owned = set()
        for event in member.events:
            if event["e"] == "owns":
                owned = set(event["at"])
            elif event["e"] == "read":
                faults += [f"{member.name} processed {place} {event['at'][place]} and did not own it" for place in set(event["at"]) - owned]
    return faults


def repeats(members):
    """Whoever comes to own a partition begins no earlier than what was committed before."""
    faults = []
    history = acks(members)
    for member in members:
        for place, start, end, _ in member.periods():
            first = next((event["at"][place][0] for event in member.said("read") if start <= event["t"] <= end and place in event["at"]), None)
            committed = max((offset for time, at, offset, _ in history if at == place and time < start), default=0)
            if first is not None and first < committed:
                faults.append(f"{member.name} began {place} at {first}; {committed} was committed")
    return faults


def twice(members):
    faults, ends = [], {}
    for _, place, first, last, name in reads(members):
        if first < ends.get(place, 0):
            faults.append(f"{name} processed {place} from {first}; it was processed up to {ends[place]}")
        ends[place] = max(ends.get(place, 0), last + 1)
    return faults


def some(faults):
    return f"{faults[0]} ({len(faults)} such)" if len(faults) > 1 else "".join(faults)
