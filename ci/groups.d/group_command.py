"""Kafka's own `kafka-consumer-groups`, run as its script runs it, and what it prints as rows."""

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

    def reset(self, group, *words):
        """place -> the offset that the tool set, or would set."""
        return {f"{row['TOPIC']}/{row['PARTITION']}": int(row["NEW-OFFSET"]) for row in self.rows("--reset-offsets", "--group", group, *words)}
