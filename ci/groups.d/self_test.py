"""ci/groups --self-test, and the first thing of every run: the judge finds each fault that it looks for, and nothing in a history that is good."""
import ledger

A, B = "t/0", "t/1"


def member(name, *events, died=ledger.FOREVER):
    return ledger.Member(name, [{"t": at, "e": kind, **facts} for at, kind, facts in events], died)


def owns(at, *places):
    return at, "owns", {"at": list(places), "generation": at}


def read(at, first, last, place=A):
    return at, "read", {"at": {place: [first, last]}}


def acked(at, offset, place=A):
    return at, "acked", {"at": {place: offset}}


ENDS = {A: 20, B: 5}
OTHER = [owns(1, B), read(2, 0, 4, B), owns(90)]
HANDED_OVER = [owns(1, A), read(2, 0, 9), acked(3, 10), owns(4)]

# What happens, the members, whether nobody was killed, and the titles of what is wrong.
CASES = [
    ("a handover in order", [member("a", *HANDED_OVER), member("b", owns(5, A), read(6, 10, 19), owns(9)), member("c", *OTHER)], True, set()),
    ("a kill, and the uncommitted tail again",
     [member("a", owns(1, A), read(2, 0, 9), acked(3, 10), read(4, 10, 12), died=5), member("b", owns(6, A), read(7, 10, 19)), member("c", *OTHER)],
     False, set()),
    ("the same where nobody was killed",
     [member("a", owns(1, A), read(2, 0, 9), acked(3, 10), read(4, 10, 12), owns(5)), member("b", owns(6, A), read(7, 10, 19)), member("c", *OTHER)],
     True, {"each record once"}),
    ("a record was lost", [member("a", *HANDED_OVER), member("b", owns(5, A), read(6, 11, 19)), member("c", *OTHER)], False,
     {"none skipped", "every record processed"}),
    ("a gap in what one member reads", [member("a", owns(1, A), read(2, 0, 9), read(3, 11, 19)), member("c", *OTHER)], False,
     {"none skipped", "every record processed"}),
    ("the end is missing", [member("a", *HANDED_OVER), member("b", owns(5, A), read(6, 10, 18)), member("c", *OTHER)], False,
     {"every record processed"}),
    ("nobody has a partition", [member("a", *HANDED_OVER), member("b", owns(5, A), read(6, 10, 19))], False, {"every record processed"}),
    ("two owners at once", [member("a", owns(1, A), read(2, 0, 9), acked(3, 10), owns(6)), member("b", owns(5, A), read(7, 10, 19)),
                            member("c", *OTHER)], True, {"no two owners"}),
    ("an owner that never lets go", [member("a", owns(1, A), read(2, 0, 9), acked(3, 10)), member("b", owns(5, A), read(7, 10, 19)),
                                     member("c", *OTHER)], True, {"no two owners"}),
    ("a commit is forgotten", [member("a", *HANDED_OVER), member("b", owns(5, A), read(6, 8, 19)), member("c", *OTHER)], False,
     {"repeats only what was not committed"}),
    ("a record after the partition was given away",
     [member("a", *HANDED_OVER, read(5, 10, 10)), member("b", owns(6, A), read(7, 11, 19)), member("c", *OTHER)], True, {"processed by its owner"}),
    ("a member failed", [member("a", *HANDED_OVER), member("b", owns(5, A), read(6, 10, 19), (9, "failed", {"why": "x"})), member("c", *OTHER)],
     True, {"no member failed"}),
]


def faults():
    """What the judge did not find, or found where there is nothing."""
    found = []
    for title, members, each_once, wrong in CASES:
        titles = {what for what, fault in ledger.checked(members, ENDS, each_once=each_once).items() if fault}
        if titles != wrong:
            found.append(f"{title}: expected {sorted(wrong)}, found {sorted(titles)}")
    return found


def run():
    found = faults()
    print("\n".join([*found, f"{len(CASES) - len(found)} passed, {len(found)} failed, 0 skipped"]))
    return 1 if found else 0
