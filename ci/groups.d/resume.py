"""The scenario that the broker's restart belongs to: all clients at once, for there is one broker. A group of each lives through
it, and one of each is gone before and comes back after it."""
from concurrent.futures import ThreadPoolExecutor

import stage

NAME = "resume"


def play(plays, broker, judge):
    """`plays`: one a client. `judge(client, faults)` takes what was found."""
    going, alive = {}, {}
    for play in plays:
        through, gone = play.stage({"t": 4}, name="through"), play.stage({"u": 4}, name="gone")
        alive[play] = (through, gone)
        through.start_all(["a", "b"])
        gone.start_all(["a", "b"])

    def step(work):
        """For every client that has not failed yet, side by side."""
        def one(play):
            try:
                work(play, *alive[play])
                return None
            except stage.Fault as fault:
                return str(fault)

        with ThreadPoolExecutor(len(plays)) as pool:
            faults = dict(zip(list(alive), pool.map(one, list(alive))))
        for play, fault in faults.items():
            if fault:
                judge(play.client, {NAME: fault})
                del alive[play]

    def before(play, through, gone):
        for s in (through, gone):
            s.until_shared(2, 2)
            s.progressed()
        gone.close_all()
        gone.ask("commit", group=f"{gone.group}-tool", topic=list(gone.topics)[0], partition=0, offset=7, metadata="größe 7")
        going[play] = gone.ask("committed", group=gone.group)

    def after(play, through, gone):
        faults = {}
        found = gone.ask("committed", group=gone.group)
        faults["committed offsets are as before"] = "" if found == going[play] else f"before {going[play]}, after {found}"
        found = gone.ask("committed", group=f"{gone.group}-tool")
        wanted = {f"{list(gone.topics)[0]}/0": [7, "größe 7"]}
        faults["metadata of a commit is as before"] = "" if found == wanted else f"wanted {wanted}, got {found}"
        gone.start_all(["c", "d"])
        gone.until_shared(2, 2)
        through.until(lambda: through.shares() == [2, 2], "the group that lived through it owns everything")
        for s in (through, gone):
            s.progressed()
        through.start("e")
        through.until_balanced()
        for s in (through, gone):
            s.drained()
            s.close_all()
        faults |= {f"lived through it: {title}": fault for title, fault in through.judged().items()}
        faults |= {f"came back: {title}": fault for title, fault in gone.judged(each_once=True).items()}
        judge(play.client, faults)

    step(before)
    broker.stop()
    broker.start()
    step(after)
