"""One process a client, asked over a pipe, and how each is started."""
import json
import os
import re
import select
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))


class Client:
    """A program of this directory that answers one JSON object a line with another."""

    def __init__(self, name, command, logs, bootstrap, environment=None):
        self.name, self.command, self.bootstrap = name, [*command, bootstrap] if bootstrap else command, bootstrap
        self.log = os.path.join(logs, f"{name}.log")
        self.environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "KAFKAJS_NO_PARTITIONER_WARNING": "1", **(environment or {})}
        self.process, self.received = None, b""

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                                            env=self.environment)
        self.received = b""
        hello = self.call("hello")
        if "ok" not in hello:
            raise RuntimeError(f"{self.name} does not start: {hello}; its log: {self.log}")
        self.about = hello["ok"]
        self.codecs = self.about["codecs"]
        self.profile = self.about.get("profile", "full")
        self.reads = self.about.get("reads", "full")
        self.version = self.about["version"]

    def call(self, verb, timeout=150, **arguments):
        if self.process.poll() is not None:
            return {"error": {"code": None, "text": f"the client ended with {self.process.returncode}; its log: {self.log}"}}
        with open(self.log, "ab") as log:
            log.write(f"--> {verb} {json.dumps(arguments)[:300]}\n".encode())
        asked = time.monotonic()
        try:
            self.process.stdin.write(json.dumps({"do": verb, **arguments}).encode() + b"\n")
            self.process.stdin.flush()
            reply = json.loads(self.line(timeout))
            with open(self.log, "ab") as log:
                log.write(f"<-- after {time.monotonic() - asked:.2f} s\n".encode())
            return reply
        except (OSError, ValueError, TimeoutError) as error:
            self.process.kill()
            self.process.wait()
            return {"error": {"code": None, "text": f"no reply to {verb}: {error!r}; its log: {self.log}"}}

    def line(self, timeout):
        deadline, descriptor = time.monotonic() + timeout, self.process.stdout.fileno()
        while b"\n" not in self.received:
            ready, _, _ = select.select([descriptor], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError(f"nothing within {timeout} s")
            part = os.read(descriptor, 65536)
            if not part:
                raise OSError("the client closed its output")
            self.received += part
        line, _, self.received = self.received.partition(b"\n")
        return line

    def again(self):
        """Started anew if it died, so that one failure does not take the rest of its row along."""
        if self.process.poll() is not None:
            self.start()

    def stop(self):
        if self.process is None or self.process.poll() is not None:
            return
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Tools(Client):
    """Kafka's own command-line tools behind the same verbs, run by the program that also is the Java client."""

    def start(self):
        super().start()
        self.profile = self.reads = "text"
        self.version = self.about["version"]

    def call(self, verb, timeout=150, **arguments):
        if verb == "hello":
            return super().call("hello", timeout)
        method = getattr(self, "do_" + verb, None)
        if method is None:
            return {"unsupported": verb}
        try:
            return {"ok": method(**arguments)}
        except Refusal as refusal:
            return {"error": {"code": None, "text": str(refusal)}}
        except (ValueError, IndexError, AttributeError, TypeError, KeyError) as error:
            return {"error": {"code": None, "text": f"the output of the tool for {verb} is not as expected: {error!r}; log: {self.log}"}}

    def tool(self, name, *words, input=""):
        reply = super().call("tool", **{"class": name, "arguments": [str(word) for word in words], "input": input})
        with open(self.log, "ab") as log:
            log.write((json.dumps(reply)[:2000] + "\n").encode())
        if "ok" not in reply:
            raise Refusal(reply["error"]["text"])
        printed = reply["ok"]["printed"]
        if reply["ok"]["status"]:
            # The name of the exception says which error code it was, where the tool shows it; messages are the broker's own words.
            found = re.search(r"org\.apache\.kafka\.common\.errors\.(\w+)", printed)
            raise Refusal(found[1] if found else f"refused with status {reply['ok']['status']}")
        return printed

    def topics(self, *words):
        return self.tool("org.apache.kafka.tools.TopicCommand", "--bootstrap-server", "BOOTSTRAP", *words)

    def do_create(self, topic, partitions, replicas=1, configs=None):
        settings = [word for name, value in (configs or {}).items() for word in ("--config", f"{name}={value}")]
        counts = [] if partitions < 0 else ["--partitions", partitions, "--replication-factor", replicas]
        self.topics("--create", "--topic", topic, *counts, *settings)

    def do_delete(self, topic):
        self.topics("--delete", "--topic", topic)

    def do_list(self):
        return sorted(self.topics("--list").split())

    def do_describe(self, topic):
        found = re.findall(r"Partition: (\d+)\tLeader: (\d+)\tReplicas: (\S+)\tIsr: (\S*)", self.topics("--describe", "--topic", topic))
        return {"partitions": [{"id": int(p), "leader": int(leader), "replicas": len(replicas.split(",")), "isr": len(isr.split(","))}
                               for p, leader, replicas, isr in found]}

    def do_grow(self, topic, partitions):
        self.topics("--alter", "--topic", topic, "--partitions", partitions)

    def configs(self, topic, *words):
        return self.tool("org.apache.kafka.tools.ConfigCommand", "--bootstrap-server", "BOOTSTRAP", "--entity-type", "topics", "--entity-name",
                         topic, *words)

    def do_config_get(self, topic, name):
        found = re.search(rf"^  {re.escape(name)}=(\S*) sensitive=\S+ synonyms=\{{(\w*)", self.configs(topic, "--describe", "--all"), re.M)
        return {"value": found[1], "source": {"DYNAMIC_TOPIC_CONFIG": 1, "DEFAULT_CONFIG": 5, "": 5}.get(found[2], found[2])}

    def do_config_set(self, topic, name, value):
        self.configs(topic, "--alter", "--add-config", f"{name}={value}")

    def do_offset(self, topic, partition, at):
        spelled = {"max": "max-timestamp"}.get(at, at)
        printed = self.tool("org.apache.kafka.tools.GetOffsetShell", "--bootstrap-server", "BOOTSTRAP", "--topic-partitions",
                            f"{topic}:{partition}", "--time", spelled)
        found = re.search(rf"^{re.escape(topic)}:{partition}:(\d*)$", printed, re.M)
        # The tool leaves out the offset where there is none, or the whole line.
        return int(found[1]) if found and found[1] else -1

    def do_delete_records(self, topic, partition, before):
        asked = {"version": 1, "partitions": [{"topic": topic, "partition": partition, "offset": before}]}
        path = self.log + ".json"
        with open(path, "w") as file:
            json.dump(asked, file)
        printed = self.tool("org.apache.kafka.tools.DeleteRecordsCommand", "--bootstrap-server", "BOOTSTRAP", "--offset-json-file", path)
        found = re.search(r"low_watermark: (\d+)", printed)
        if not found:
            raise Refusal(re.search(r"common\.errors\.(\w+)", printed)[1])
        return {"low": int(found[1])}

    def do_cluster(self):
        printed = self.tool("org.apache.kafka.tools.ClusterTool", "cluster-id", "--bootstrap-server", "BOOTSTRAP")
        nodes = self.tool("org.apache.kafka.tools.BrokerApiVersionsCommand", "--bootstrap-server", "BOOTSTRAP")
        return {"brokers": nodes.count("-> ("), "controller_is_a_broker": None, "has_id": bool(re.search(r"Cluster ID: \S+", printed))}

    def do_reassignments(self):
        return self.tool("org.apache.kafka.tools.reassign.ReassignPartitionsCommand", "--bootstrap-server", "BOOTSTRAP", "--list").strip()

    def do_log_dirs(self, topic, broker):
        printed = self.tool("org.apache.kafka.tools.LogDirsCommand", "--bootstrap-server", "BOOTSTRAP", "--describe", "--topic-list", topic)
        [found] = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
        dirs = found["brokers"][0]["logDirs"]
        return {"dirs": len(dirs), "has_size": sum(p["size"] for d in dirs for p in d["partitions"]) > 0}

    def do_perf(self, topic, count, size):
        printed = self.tool("org.apache.kafka.tools.ProducerPerformance", "--topic", topic, "--num-records", count, "--record-size",
                            size, "--throughput", -1, "--bootstrap-server", "BOOTSTRAP")
        return {"sent": int(re.search(r"^(\d+) records sent, .*99th", printed, re.M)[1])}

    def do_produce(self, topic, count, seed, base, partitions, codec="none", profile="text", acks="all", idempotent=True):
        from records import record
        lines = "".join("%s\t%s\n" % tuple(part.decode() for part in record(seed, index, base, partitions, "text")[:2])
                        for index in range(count))
        self.tool("org.apache.kafka.tools.ConsoleProducer", "--bootstrap-server", "BOOTSTRAP", "--topic", topic, "--compression-codec",
                  codec, "--reader-property", "parse.key=true", "--reader-property", "key.separator=\t", "--command-property",
                  f"acks={acks}", "--command-property", f"enable.idempotence={'true' if idempotent else 'false'}", input=lines)
        return {"acked": count}

    def consume(self, topic, partition, offset, count, wait_ms=20000):
        shown = [word for name in ("timestamp", "offset", "key") for word in ("--formatter-property", f"print.{name}=true")]
        printed = self.tool("org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", "BOOTSTRAP", "--topic", topic,
                            "--partition", partition, "--offset", offset, "--max-messages", count, "--timeout-ms", wait_ms, *shown)
        return [(kind, int(time_ms), int(at), key, value) for kind, time_ms, at, key, value in
                re.findall(r"^(\w+):(\d+)\tOffset:(\d+)\t([^\t\n]*)\t(.*)$", printed, re.M)]

    def do_read(self, topic, partitions, dump=None):
        from records import Digests
        digests = Digests(partitions, dump)
        for partition in range(partitions):
            count = self.do_offset(topic, partition, "latest")
            for _, time_ms, at, key, value in self.consume(topic, partition, "earliest", count) if count > 0 else []:
                digests.add(partition, at, key.encode(), value.encode(), [], time_ms)
        return digests.result()

    def do_fetch(self, topic, partition, offset):
        found = self.consume(topic, partition, offset, 1, 5000)
        if not found:
            return None
        kind, time_ms, at, _, _ = found[0]
        return {"offset": at, "time_type": {"CreateTime": "create", "LogAppendTime": "append"}[kind], "timestamp": time_ms}


class Refusal(Exception):
    """What a tool said as it failed."""


def kinds(installed):
    """name -> function that gives the class and the command of the client, or raises Unavailable."""
    here = lambda name: os.path.join(HERE, name)
    java = lambda: ["java", "-Xmx512M", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", installed.java(), "JavaClient"]
    return {
        "confluent-kafka": lambda: (Client, [installed.python(), here("client_confluent.py")], None),
        "kafka-python": lambda: (Client, [installed.python(), here("client_kafka_python.py")], None),
        "aiokafka": lambda: (Client, [installed.python(), here("client_aiokafka.py")], None),
        "kafka-clients": lambda: (Client, java(), None),
        "kafkajs": lambda: (Client, ["node", here("client_kafkajs.js")], {"NODE_PATH": installed.node()}),
        "kafka-go": lambda: (Client, [installed.go()], None),
        "kcat": lambda: (Client, ["python3", here("client_kcat.py"), installed.kcat()], None),
        "kafka-tools": lambda: (Tools, java(), None),
    }
