"""Kafka's own `kafka-consumer-groups`, run as its script runs it, and what it prints as rows; and Kafka's reader of the records that a
coordinator writes."""
import re

OFFSETS_TOPIC, OFFSETS_PARTITIONS = "__consumer_offsets", 50
CONSUMER, FORMATTER = "org.apache.kafka.tools.consumer.ConsoleConsumer", "org.apache.kafka.tools.consumer.OffsetsMessageFormatter"
COMMAND = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"


class GroupCommand:
    """`tools` runs the classes of Kafka's scripts."""

    def __init__(self, tools):
        self.tools = tools

    def printed(self, *words):
        # A failure is a line that begins with `Error:`; the tool ends well all the same.
        return self.tools.tool(COMMAND, "--bootstrap-server", "BOOTSTRAP", *words)

    def rows(self, *words):
        """One dict a row of the table, by its headings."""
        lines = [line.split() for line in self.printed(*words).splitlines() if line.strip()]
        heading = next((at for at, line in enumerate(lines) if line[0] in ("GROUP", "TOPIC")), len(lines))
        return [dict(zip(lines[heading], line)) for line in lines[heading + 1:]]

    def offsets(self, group, column="CURRENT-OFFSET"):
        """place -> what a column of --describe says."""
        return {f"{row['TOPIC']}/{row['PARTITION']}": row[column] for row in self.rows("--describe", "--group", group)}

    def stored(self, group):
        """place -> offset of the last commit in the log of the group's coordinator, as Kafka's own formatter reads it."""
        partition = partition_of(group)
        count = self.tools.do_offset(OFFSETS_TOPIC, partition, "latest")
        printed = self.tools.tool(CONSUMER, "--bootstrap-server", "BOOTSTRAP", "--topic", OFFSETS_TOPIC, "--partition", partition, "--offset",
                                  "earliest", "--max-messages", count, "--timeout-ms", 20000, "--formatter", FORMATTER)
        found = re.findall(r'"group":"([^"]*)","topic":"([^"]*)","partition":(\d+)\}\},"value":\{"version":\d+,"data":\{"offset":(\d+)', printed)
        return {f"{topic}/{number}": int(offset) for name, topic, number, offset in found if name == group}

    def reset(self, group, *words):
        """place -> the offset that the tool set, or would set."""
        return {f"{row['TOPIC']}/{row['PARTITION']}": int(row["NEW-OFFSET"]) for row in self.rows("--reset-offsets", "--group", group, *words)}


def partition_of(group):
    """Of the topic of offsets: by the hash that Java has for strings."""
    code = 0
    for letter in group:
        code = (31 * code + ord(letter)) & 0xffffffff
    return (code & 0x7fffffff) % OFFSETS_PARTITIONS
