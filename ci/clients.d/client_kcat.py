"""kcat, run once a command. It sends lines: neither nulls nor headers nor timestamps. Arguments: kcat, bootstrap address."""
import json
import re
import subprocess
import sys

from records import Digests, record
from serve import Refused, serve

KCAT, BOOTSTRAP = sys.argv[1:3]
# Ends each part of what kcat prints; the records of the matrix hold no such bytes where lengths are not printed.
FORMAT = "%p %o %T %K %S %h\\n%k%s\\n"


def kcat(*arguments, input=None):
    done = subprocess.run([KCAT, "-b", BOOTSTRAP, "-X", "allow.auto.create.topics=true", *arguments], input=input, capture_output=True, timeout=120)
    if done.returncode:
        raise Refused(None, done.stderr.decode(errors="replace").strip()[-300:])
    return done.stdout


class Verbs:
    def do_hello(self):
        shown = subprocess.run([KCAT, "-V"], capture_output=True, text=True).stdout
        version = re.search(r"Version (\S+)", shown)[1]
        library = re.search(r"librdkafka ([0-9.]+)", shown)[1]
        return {"name": "kcat", "version": f"{version} (librdkafka {library})", "codecs": ["gzip", "snappy", "lz4", "zstd"],
                "profile": "text"}

    def do_list(self):
        return sorted(topic["topic"] for topic in json.loads(kcat("-L", "-J"))["topics"])

    def do_describe(self, topic):
        [found] = json.loads(kcat("-L", "-J", "-t", topic))["topics"]
        return {"partitions": [{"id": p["partition"], "leader": p["leader"], "replicas": len(p["replicas"]), "isr": len(p["isrs"])}
                               for p in found["partitions"]]}

    def do_cluster(self):
        found = json.loads(kcat("-L", "-J"))
        return {"brokers": len(found["brokers"]), "controller_is_a_broker": found["controllerid"] in
                [b["id"] for b in found["brokers"]], "has_id": None}

    def do_offset(self, topic, partition, at):
        spelled = {"earliest": -2, "latest": -1, "max": -3}.get(at, at)
        # `topic [0] offset 12`
        return int(kcat("-Q", "-t", f"{topic}:{partition}:{spelled}").split()[-1])

    def do_produce(self, topic, count, seed, base, partitions, codec="none", profile="full", acks="all", idempotent=False):
        lines = b"".join(b"%s\t%s\n" % record(seed, index, base, partitions, "text")[:2] for index in range(count))
        kcat("-P", "-t", topic, "-K", "\t", "-z", codec, "-X", "partitioner=murmur2_random", "-X", f"acks={acks}",
             "-X", f"enable.idempotence={'true' if idempotent else 'false'}", input=lines)
        return {"acked": count}

    def do_send(self, topic, partition=None, size=10, timestamp=None):
        extra = [] if partition is None else ["-p", str(partition)]
        kcat("-P", "-t", topic, *extra, "-X", "message.timeout.ms=8000", "-X", "message.max.bytes=10000000", input=b"x" * size)
        return {"partition": partition, "offset": None}

    def do_read(self, topic, partitions, dump=None):
        digests = Digests(partitions, dump)
        for row in rows(kcat("-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", FORMAT)):
            digests.add(*row)
        return digests.result()

    def do_fetch(self, topic, partition, offset):
        found = list(rows(kcat("-C", "-t", topic, "-p", str(partition), "-o", str(offset), "-c", "1", "-e", "-q", "-f", FORMAT)))
        if not found:
            return None
        [(_, at, _, _, _, timestamp)] = found
        return {"offset": at, "time_type": None, "timestamp": timestamp}


def rows(output):
    """(partition, offset, key, value, headers, timestamp) of each record in the output."""
    at = 0
    while at < len(output):
        end = output.index(b"\n", at)
        partition, offset, timestamp, key_length, value_length, headers = output[at:end].split(b" ", 5)
        at = end + 1
        key, at = taken(output, at, int(key_length))
        value, at = taken(output, at, int(value_length))
        at += 1
        pairs = [tuple(pair.split(b"=", 1)) for pair in headers.split(b",")] if headers else []
        yield int(partition), int(offset), key, value, pairs, int(timestamp)


def taken(output, at, length):
    """Null has the length -1 and is printed as nothing."""
    return (None, at) if length < 0 else (output[at:at + length], at + length)


serve(Verbs(), lambda error: None)
