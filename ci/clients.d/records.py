"""The records that every client of the matrix sends, and the form in which any two readers can be compared.

The generator is repeated in each client's own language and has to stay this simple: a record is a function of seed and
index. It covers null, empty and present keys and values, binary and large values, repeated and empty headers, and
timestamps that are not in order. `text` is what command-line producers can send: lines, with neither nulls nor headers.
"""
import hashlib

PATTERN = bytes((7 * i) & 255 for i in range(256 + 60_000))


def mixed(seed, index):
    x = (index * 2654435761 + seed * 40503) & 0xFFFFFFFF
    return x ^ (x >> 15)


def record(seed, index, base, partitions, profile="full"):
    """(key, value, headers, timestamp in ms or None, partition or None where the key decides)"""
    x = mixed(seed, index)
    if profile == "text":
        return b"key-%d" % (x % 1000), b"value-%d-%d" % (index, x), [], None, None
    key, partition = b"key-%d" % (x % 1000), None
    if index % 10 == 3:
        key, partition = None, index % partitions
    elif index % 10 == 7:
        key = b""
    length = 60_000 if index % 5000 == 4999 else x % 200 + 1
    value = PATTERN[x & 255:(x & 255) + length]
    # Even indices: never together with a null or empty key, which some clients refuse to send.
    if index % 16 == 6:
        value = None
    elif index % 16 == 12:
        value = b""
    headers = [
        [],
        [("a", b"%d" % x)],
        [("a", b"1"), ("a", b"2"), ("b", b"")],
        [("größe", b"%x" % x)],
    ][index % 4]
    timestamp = base + index - (50 if index % 7 == 0 else 0)
    return key, value, headers, timestamp, partition


def murmur2(data):
    """Kafka's own, as in org.apache.kafka.common.utils.Utils."""
    length, mask = len(data), 0xFFFFFFFF
    h = (0x9747B28C ^ length) & mask
    whole = length & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at:at + 4], "little") * 0x5BD1E995 & mask
        k = (k ^ k >> 24) * 0x5BD1E995 & mask
        h = h * 0x5BD1E995 & mask ^ k
    if length > whole:
        h = (h ^ int.from_bytes(data[whole:], "little")) * 0x5BD1E995 & mask
    h = (h ^ h >> 13) * 0x5BD1E995 & mask
    return h ^ h >> 15


def content_line(offset, key, value, headers):
    """`-` is null and nothing is empty; everything else is hexadecimal."""
    spelled = ";".join(
        (name if isinstance(name, bytes) else name.encode()).hex() + ":" + ("-" if data is None else data.hex())
        for name, data in headers or ())
    return (f"{offset} {'-' if key is None else key.hex()} {'-' if value is None else value.hex()} {spelled}\n").encode()


def time_line(offset, timestamp):
    return b"%d %d\n" % (offset, timestamp)


class Digest:
    """What a reader says of one partition: how many records, and SHA-256 of their contents and of their timestamps."""

    def __init__(self, dump=None):
        self.count, self.content, self.times, self.dump = 0, hashlib.sha256(), hashlib.sha256(), dump

    def add(self, offset, key, value, headers, timestamp):
        line, time = content_line(offset, key, value, headers), time_line(offset, timestamp)
        self.count += 1
        self.content.update(line)
        self.times.update(time)
        if self.dump:
            self.dump.write(b"%d " % timestamp + line)

    def result(self):
        return {"count": self.count, "content": self.content.hexdigest(), "times": self.times.hexdigest()}


class Digests:
    """One digest a partition; with `dump`, also every record as a line in the file `<dump>.<partition>`."""

    def __init__(self, partitions, dump=None):
        self.files = [open(f"{dump}.{p}", "wb") for p in range(partitions)] if dump else [None] * partitions
        self.digests = [Digest(file) for file in self.files]

    def add(self, partition, *record_parts):
        self.digests[partition].add(*record_parts)

    def result(self):
        for file in self.files:
            if file:
                file.close()
        return {"partitions": [digest.result() for digest in self.digests]}


def expected(seed, count, base, partitions, profile, dump=None):
    """What every reader has to say of a topic that one producer filled."""
    digests, places, next_offset = Digests(partitions, dump), {}, [0] * partitions
    for index in range(count):
        key, value, headers, timestamp, partition = record(seed, index, base, partitions, profile)
        if partition is None:
            partition = places.get(key)
            if partition is None:
                partition = places[key] = (murmur2(key) & 0x7FFFFFFF) % partitions
        digests.add(partition, next_offset[partition], key, value, headers, timestamp or 0)
        next_offset[partition] += 1
    return digests.result()
