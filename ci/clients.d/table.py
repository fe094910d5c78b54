"""The table of docs/clients.md: a row a client, a column a feature."""
import json
import os

import features
import install

DOCUMENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "clients.md")
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


def shown(results):
    clients = list(dict.fromkeys(client for client, _ in results.cells))
    columns = ["version", *CODECS, "reads", *features.FEATURES]
    titles = {"none": "no codec", "reads": "reads the others"}
    rows = [["client", *(titles.get(column, column) for column in columns)]]
    for client in clients:
        absent = "skipped" if results.cells.get((client, "version")) == "skipped" else ""
        rows.append([client, *(results.cells.get((client, column), absent) for column in columns)])
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def differences(path):
    """The numbered list of what differs from Kafka, and why."""
    with open(path) as file:
        found = json.load(file)
    return "\n".join(f"{number}. *{one['feature']}*, {one['step']}: {one['why']}" for number, one in enumerate(found, 1))


def write(text, differs):
    with open(DOCUMENT, "w") as document:
        document.write(f"""# Kafka clients and what of them works

Written by `ci/clients --all`; not edited by hand. Every client runs unmodified, against one ouzel with an empty data
directory. `yes`: each outcome was the one that the same client has with Apache Kafka {install.KAFKA}; with numbers: but for these
differences, which stand below and are checked as well. `–`: the client has no such thing. `fails`: it differs. `skipped`: the
client could not be installed where this was written.

- *no codec*: 100,000 records in 4 partitions; *gzip* to *zstd*: 2,000 records each. All of them read back by every other
  client; keys, values, headers, timestamps, offsets and the partition of each key are what the generator says. kcat and
  Kafka's console producer send lines with keys, the others also nulls, empty and large values, and repeated headers.
- *reads the others*: what every other client produced; the console consumer reads only lines.
- The other columns are lists of steps, in `ci/clients.d/features.py`, whose outcomes stand in `ci/clients.d/expected.json`.

{text}

## Where ouzel answers otherwise than Kafka

{differences(differs)}

Consumers are given their partitions here; groups have scenarios of their own, `ci/groups`.
""")
