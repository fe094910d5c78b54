"""What every member written in Python does: it owns partitions, reads them, commits, and says so in its ledger. A process holds
any number of members, each in a thread of its own, and is driven by one JSON object a line on stdin; its end is the end of all.

The ledger is stdout, one JSON object a line: the member, the time by the machine's monotonic clock (one for all processes), and
  owns   all that it owns from now on, and the generation where the client shows it; written before it gives anything away
  read   partition -> [first, last] offset of records processed since the last such line; nothing is committed before
  acked  partition -> offset, a commit that the broker acknowledged
  refused / closed / failed
"""
import json
import os
import sys
import threading
import time

BOOTSTRAP = sys.argv[1]
POLL_S = 0.1


class Ledger:
    """The lines of one member. A line is one write, so that lines of threads never mix."""

    def __init__(self, name):
        self.name, self.owned, self.pending, self.positions, self.said = name, set(), {}, {}, {}

    def say(self, event, **facts):
        line = {"m": self.name, "t": time.monotonic_ns(), "e": event, **facts}
        os.write(1, json.dumps(line).encode() + b"\n")

    def record(self, topic, partition, offset):
        """One record was processed. A gap within what was read is told as it is: two ranges."""
        place = f"{topic}/{partition}"
        if place in self.pending and self.pending[place][1] != offset - 1:
            self.flush()
        self.pending.setdefault(place, [offset, offset])[1] = offset
        self.positions[place] = offset + 1

    def flush(self):
        if self.pending:
            self.say("read", at=self.pending)
            self.pending = {}

    def owns(self, places, generation=None):
        self.flush()
        self.owned = set(places)
        self.positions = {place: at for place, at in self.positions.items() if place in self.owned}
        self.say("owns", at=sorted(self.owned), generation=generation)

    def uncommitted(self, places):
        """What there is to commit of them: nothing that has not been told as read, and nothing twice."""
        self.flush()
        return {place: at for place, at in self.positions.items() if place in places and self.said.get(place) != at}

    def acked(self, offsets):
        self.said.update(offsets)
        self.say("acked", at=offsets)


def place_of(topic, partition):
    return f"{topic}/{partition}"


def parts_of(place):
    topic, _, partition = place.rpartition("/")
    return topic, int(partition)


def host(run):
    """`run(settings, ledger, closing)` is one member, until the event `closing` is set. Settings: name, group, topics or pattern,
    session_ms, commit_ms, and maybe instance, assignor, protocol, assign (place -> offset)."""
    closing = {}

    def one(settings):
        ledger = Ledger(settings["name"])
        try:
            run(settings, ledger, closing[settings["name"]])
            ledger.say("closed")
        except Exception as error:
            ledger.say("failed", why=f"{type(error).__name__}: {error}")
            raise

    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "start":
            closing[command["name"]] = threading.Event()
            threading.Thread(target=one, args=(command,), daemon=True).start()
        else:
            closing[command["name"]].set()
    os._exit(0)
