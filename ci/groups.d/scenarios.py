"""What groups are asked to do. Each scenario plays one or more groups of one client and returns what the ledgers say: title ->
fault. The rows are those of the acceptance table."""
import ledger
import stage

SCENARIOS = {}
NATIVE = "native"
# Members of both in one group.
MIXED = "native and confluent-kafka, consumer"
CLASSIC = ["confluent-kafka", "kafka-python", "aiokafka", "kafka-clients", "kafkajs"]
CONSUMER = ["confluent-kafka, consumer", "kafka-clients, consumer", NATIVE]
ALL = [*CLASSIC, *CONSUMER, MIXED]
EACH = [*CLASSIC, *CONSUMER]
# What clients of one protocol have in common, one or two of them show in the short form.
SECOND = ["kafka-clients, consumer"]
OTHERS = ["kafka-python", "aiokafka", "kafkajs", *SECOND]


def scenario(clients, long=()):
    """`long`: the clients among them that the short form does without."""
    def kept(function):
        function.clients, function.long = clients, long
        SCENARIOS[function.__name__.replace("_", " ")] = function
        return function
    return kept


def each_once(client):
    """kafkajs gives a batch to its reader until the very moment it joins again: what it then commits comes too late. In a
    consumer group of the new protocol nobody hands over without having committed."""
    return client.name != "kafkajs"


@scenario(ALL)
def balance(play):
    """6 partitions: one member takes all, two have 3 each, four are within one, six have one each; three remain."""
    s = play.stage({"t": 6})
    s.start("a")
    s.until_shared(6)
    s.start("b")
    s.until_shared(3, 3)
    s.start_all(["c", "d"])
    s.until_shared(2, 2, 1, 1)
    s.progressed()
    s.start_all(["e", "f"])
    s.until_shared(1, 1, 1, 1, 1, 1)
    for name in ("b", "d", "f"):
        s.close(name)
    s.until_shared(2, 2, 2)
    s.drained()
    s.close_all()
    return s.judged(each_once=each_once(play.client))


@scenario(ALL)
def takeover(play):
    """3 partitions, 5 members: two are idle; an owner is killed with -9 and an idle one takes over."""
    s = play.stage({"t": 3})
    s.alone("a")
    s.until_shared(3)
    s.start_all(["b", "c", "d", "e"])
    s.until_shared(1, 1, 1, 0, 0)
    s.progressed()
    if not s.members["a"].owned():
        raise stage.Fault("the member that is to be killed is an idle one")
    s.kill("a")
    s.until_shared(1, 1, 1, 0)
    s.progressed()
    s.drained()
    s.close_all()
    return s.judged()


@scenario(ALL, long=SECOND)
def join_leave_kill(play):
    """Members join, leave and are killed while records flow; the last one has everything."""
    s = play.stage({"t": 4})
    s.alone("a")
    s.start("b")
    s.until_shared(2, 2)
    s.progressed()
    s.alone("c")
    s.until_balanced()
    s.progressed()
    s.kill("a")
    s.start("d")
    s.until(lambda: s.shares() == [2, 1, 1], "the three that live share everything")
    s.close("b")
    s.until_shared(2, 2)
    s.kill("c")
    s.until_shared(4)
    s.drained()
    s.close_all()
    return s.judged()


@scenario(EACH, long=["kafka-clients", *OTHERS])
def queue(play):
    """The jobs of 6 partitions are shared by 3 workers of one group, each job done once."""
    s = play.stage({"jobs": 6})
    s.start_all(["a", "b", "c"])
    s.until_shared(2, 2, 2)
    s.progressed(40)
    s.drained()
    s.close_all()
    return s.judged(each_once=each_once(play.client))


@scenario(EACH, long=["kafka-clients", *OTHERS])
def pub_sub(play):
    """Three groups read the same topic; one is killed, the others do not notice, and it misses nothing when it is back."""
    first = play.stage({"t": 4})
    second, third = play.beside(first, "second"), play.beside(first, "third")
    killed = play.client.host()
    first.start_all(["a", "b"])
    second.start_all(["a", "b"], killed)
    third.start("a")
    for s in (first, second, third):
        s.until_balanced()
        s.progressed()
    killed.kill()
    quiet = [len(m.said("owns")) for s in (first, third) for m in s.members.values()]
    for s in (first, third):
        s.progressed(40)
    second.start("c")
    second.until_shared(4)
    first.drained()
    faults = {}
    for s in (first, second, third):
        s.ends = first.ends
        s.drained()
        if s is not second and [len(m.said("owns")) for o in (first, third) for m in o.members.values()] != quiet:
            faults["the other groups do not notice"] = "there was a rebalance in another group than that which was killed"
    for s in (first, second, third):
        s.close_all()
        faults |= {f"{s.group}: {title}": fault for title, fault in s.judged(each_once=s is not second and each_once(play.client)).items()}
    return faults


@scenario(EACH, long=OTHERS)
def more_members_than_topics(play):
    """10 topics of one partition, 13 members: 10 have one topic each, 3 are idle; a busy one is killed and replaced."""
    s = play.stage({f"t{n}": 1 for n in range(10)}, assignor="roundrobin")
    s.alone("a")
    s.until_shared(10)
    s.start_all([f"b{n:02}" for n in range(12)])
    s.until_shared(*[1] * 10, 0, 0, 0)
    s.progressed()
    s.kill("a")
    s.until_shared(*[1] * 10, 0, 0)
    s.drained()
    s.close_all()
    return s.judged()


@scenario(EACH, long=OTHERS)
def fewer_members_than_topics(play):
    """10 topics of one partition, 7 members: no topic is left unread. Two clients subscribe by a pattern."""
    topics = {f"t{n}": 1 for n in range(10)}
    by_pattern = {"pattern": f"^{play.prefix}-t[0-9]$"} if play.client.name in ("confluent-kafka", NATIVE) else {}
    s = play.stage(topics, assignor="roundrobin", **by_pattern)
    s.start_all("abcdefg")
    s.until_shared(2, 2, 2, 1, 1, 1, 1)
    s.progressed()
    s.close("a")
    s.until_shared(2, 2, 2, 2, 1, 1)
    s.drained()
    s.close_all()
    return s.judged(each_once=each_once(play.client))


@scenario([name for name in ALL if name not in ("kafkajs", MIXED)], long=["kafka-python", "aiokafka", *SECOND])
def more_partitions(play):
    """2 partitions become 6 while a producer and two members run: all go on, and share the new ones, without a restart."""
    s = play.stage({"t": 2})
    s.start_all(["a", "b"])
    s.until_shared(1, 1)
    s.progressed()
    s.widen("grow", {topic: 6 for topic in s.topics})
    s.until_shared(3, 3)
    s.progressed()
    s.drained()
    s.close_all()
    return s.judged(each_once=True)


@scenario(["confluent-kafka", NATIVE], long=["confluent-kafka", NATIVE])
def fifty_topics(play):
    """One member reads 50 topics by a pattern, and two more that are made later."""
    s = play.stage({f"t{n}": 1 for n in range(50)}, rate=4, pattern=f"^{play.prefix}-t[0-9]+$")
    s.start("a")
    s.until_shared(50)
    s.progressed(4)
    s.widen("create", {f"{play.prefix}-t{n}": 1 for n in (50, 51)})
    s.until_shared(52)
    s.progressed(4)
    s.drained()
    s.close_all()
    return s.judged(each_once=True)


@scenario(["confluent-kafka"])
def external_offsets(play):
    """No group: the reader gives itself its partitions, keeps its offsets itself, is killed, and goes on at them."""
    s = play.stage({"t": 2})
    s.alone("a", assign={place: 0 for place in s.places()})
    s.progressed()
    s.kill("a")
    kept = ledger.processed(s.members.values())
    s.start("b", assign={place: kept[place] for place in s.places()})
    s.progressed()
    s.drained()
    s.close_all()
    known = s.ask("groups")
    there = [group for group in (s.group, "in-no-group") if group in known]
    return s.judged(each_once=True) | {"there is no group": f"the broker knows {there}" if there else ""}


@scenario(["confluent-kafka", "kafka-python", "aiokafka", "kafka-clients", *CONSUMER])
def static_members(play):
    """Members with a name of their own come back to what they had, after a close and after a kill; nobody else notices."""
    s = play.stage({"t": 6}, session_ms=20_000)
    # Processes are started before they are needed: a session may be shorter than the start of one.
    spare = {"d": play.client.host(), "e": play.client.host()} if play.client.protocol == "classic" else {"d": play.client.host()}
    s.start("a", instance=f"{s.group}-1")
    s.start("b", instance=f"{s.group}-2")
    s.start("c", instance=f"{s.group}-3")
    s.until_shared(2, 2, 2)
    s.progressed()
    others = {m: (m.generation(), len(m.said("owns"))) for m in (s.members["b"], s.members["c"])}
    faults = {}

    def back(gone, new, had):
        s.start(new, spare[new], instance=f"{s.group}-1")
        s.until(lambda: s.members[new].owned() == had, f"{new} has what {gone} had")
        noticed = [m.name for m, before in others.items() if (m.generation(), len(m.said("owns"))) != before]
        faults[f"nobody notices that {gone} comes back"] = f"a rebalance at {noticed}" if noticed else ""
        s.progressed()

    had = s.members["a"].owned()
    s.close("a")
    back("a", "d", had)
    if play.client.protocol == "classic":
        # The new protocol keeps the name of a member that did not say good-bye until its session is over (UNRELEASED_INSTANCE_ID).
        s.kill("d")
        back("d", "e", had)
    s.drained()
    s.close_all()
    return s.judged() | faults


@scenario(["confluent-kafka", "kafka-python", "kafka-clients", *CONSUMER, MIXED])
def cooperative(play):
    """A member that joins takes only what must move: what the others keep they never give away."""
    s = play.stage({"t": 6}, assignor="cooperative")
    s.start_all(["a", "b"])
    s.until_shared(3, 3)
    s.progressed()
    s.start("c")
    s.until_shared(2, 2, 2)
    s.progressed()
    faults = []
    for name in ("a", "b"):
        kept = s.members[name].owned()
        since = s.members["c"].events[0]["t"] - 10**9
        for event in s.members[name].said("owns"):
            if event["t"] > since and not kept <= set(event["at"]):
                faults.append(f"{name} gave away {sorted(kept - set(event['at']))} and got it back")
    s.drained()
    s.close_all()
    return s.judged(each_once=True) | {"what stays is not given away": ledger.some(faults)}


@scenario(["confluent-kafka", "kafka-clients"], long=["kafka-clients"])
def protocol_change(play):
    """Members of the old protocol are replaced one by one by those of the new one, and these by old ones again: the group goes on
    all the while, and both kinds share it."""
    s = play.stage({"t": 6})
    s.start_all(["a", "b"])
    s.until_shared(3, 3)
    for gone, new, protocol in (("a", "c", "consumer"), ("b", "d", "consumer"), ("c", "e", "classic"), ("d", "f", "classic")):
        s.progressed()
        s.close(gone)
        s.start(new, protocol=protocol)
        s.until_shared(3, 3)
    s.progressed()
    s.drained()
    s.close_all()
    return s.judged(each_once=True)


@scenario(["kafka-clients", NATIVE, *SECOND], long=[NATIVE, *SECOND])
def kafka_consumer_groups(play):
    """Kafka's tool shows members and lag of a group that runs, and resets, prunes and deletes one that does not."""
    tool = play.group_command()
    s = play.stage({"t": 3})
    s.start_all(["a", "b"])
    s.until_shared(2, 1)
    s.progressed()
    found, topic = {}, list(s.topics)[0]

    def seen(what, is_so, got):
        found[what] = "" if is_so else str(got)

    rows = tool.rows("--describe", "--group", s.group)
    owners = {m.name: sorted(m.owned()) for m in s.living()}
    shown = {name: sorted(f"{row['TOPIC']}/{row['PARTITION']}" for row in rows if row["CLIENT-ID"] == name) for name in owners}
    seen("--describe names the owners", shown == owners, rows)
    is_sum = lambda row: int(row["CURRENT-OFFSET"]) + int(row["LAG"]) == int(row["LOG-END-OFFSET"])
    seen("the lag is what lies between", len(rows) == 3 and all(map(is_sum, rows)), rows)
    rows = tool.rows("--describe", "--group", s.group, "--members")
    seen("--members counts their partitions", {row["CLIENT-ID"]: int(row["#PARTITIONS"]) for row in rows} ==
         {name: len(owned) for name, owned in owners.items()}, rows)
    rows = tool.rows("--describe", "--group", s.group, "--state")
    seen("--state says that it is stable", [(row["STATE"], row["#MEMBERS"]) for row in rows] == [("Stable", "2")], rows)
    seen("--list names it", s.group in tool.printed("--list").split(), "it is missing")
    refused = tool.printed("--delete", "--group", s.group)
    seen("one with members is not deleted", "GroupNotEmptyException" in refused, refused)
    refused = tool.printed("--reset-offsets", "--group", s.group, "--to-earliest", "--topic", topic, "--execute")
    seen("one with members is not reset", "inactive" in refused, refused)
    s.drained()
    s.close_all()
    found |= s.judged()

    ends = {place: str(end) for place, end in s.ends.items()}
    seen("all is committed", tool.offsets(s.group) == ends, tool.offsets(s.group))
    seen("Kafka's formatter reads what the coordinator wrote", tool.stored(s.group) == s.ends, tool.stored(s.group))
    seen("a dry run says what it would do", tool.reset(s.group, "--to-earliest", "--all-topics", "--dry-run") == dict.fromkeys(ends, 0), "")
    seen("and does nothing", tool.offsets(s.group) == ends, tool.offsets(s.group))
    for words, offset in ((["--to-earliest"], 0), (["--shift-by", "5"], 5), (["--to-offset", "7"], 7), (["--by-duration", "PT1H"], 0)):
        way = " ".join(words)
        seen(f"{way} sets offsets", tool.reset(s.group, *words, "--all-topics", "--execute") == dict.fromkeys(ends, offset), way)
        kept = {place: at for place, (at, _) in s.ask("committed", group=s.group).items()}
        seen(f"{way} is committed", kept == dict.fromkeys(ends, offset), kept)
    tool.printed("--delete-offsets", "--group", s.group, "--topic", f"{topic}:1")
    kept = s.ask("committed", group=s.group)
    seen("--delete-offsets takes those that it names", sorted(kept) == [f"{topic}/0", f"{topic}/2"], kept)
    tool.printed("--delete", "--group", s.group)
    seen("--delete takes the group", s.group not in tool.printed("--list").split() and not s.ask("committed", group=s.group), "it is there")
    return found


@scenario(["aiokafka", NATIVE], long=["aiokafka"])
def a_hundred_members(play):
    """100 members in four processes; ten at a time leave and are replaced, until nobody is left of the first."""
    s = play.stage({"t": 100}, rate=2, session_ms=20_000, commit_ms=1000)
    hosts = [play.client.host() for _ in range(4)]
    for at in range(100):
        s.start(f"m{at:03}", hosts[at % 4])
    s.until(lambda: s.shares() == [1] * 100, "a hundred members own one partition each", 180)
    s.until(s.described, "DescribeGroups says what the members say")
    for wave in range(10):
        for at in range(10 * wave, 10 * wave + 10):
            s.hosts[f"m{at:03}"].tell(s.members[f"m{at:03}"], do="close", name=s.members[f"m{at:03}"].name)
            s.start(f"n{at:03}", hosts[at % 4])
        s.until(lambda: s.shares() == [1] * 100, f"after {wave + 1} of 10 waves everybody owns one", 180)
    s.until(s.described, "DescribeGroups says what the members say")
    s.drained()
    s.close_all()
    return s.judged(each_once=True)
