"""The broker under test: ouzel, or Apache Kafka as the reference, or one that runs already. Started, killed, started again."""
import os
import random
import shutil
import signal
import socket
import subprocess
import time
import uuid

READY_WITHIN_S = 60


def free_ports(count=1):
    """The first of so many free ports in a row. They are none of those that the kernel gives to connections: one that is made while
    a broker is down must not get the port on which that broker will listen again."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as given:
        end = int(given.read().split()[0])
    while True:
        first = random.randrange(end // 2, end - count)
        probes = []
        try:
            for port in range(first, first + count):
                probes.append(socket.socket())
                probes[-1].bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
        finally:
            for probe in probes:
                probe.close()


def answers_kafka(port):
    """Whether an ApiVersions request (version 0) is answered: a listening port is not yet a broker."""
    body = b"\x00\x12\x00\x00\x00\x00\x00\x07\xff\xff"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.settimeout(2)
            connection.sendall(len(body).to_bytes(4, "big") + body)
            return len(connection.recv(8)) > 0
    except OSError:
        return False


class Broker:
    """A process on loopback ports of its own, with data and log below `directory`."""

    def __init__(self, directory, cpus=None, port=None):
        self.directory, self.cpus = directory, cpus
        self.port = port or free_ports()
        self.log = os.path.join(directory, "broker.log")
        self.process = None
        os.makedirs(directory, exist_ok=True)

    @property
    def bootstrap(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        """Seconds until an ApiVersions request was answered."""
        started = time.monotonic()
        command = (["taskset", "-c", self.cpus] if self.cpus else []) + self.command()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.directory,
                                            env={**os.environ, **self.environment()})
        while not answers_kafka(self.port):
            if self.process.poll() is not None:
                raise RuntimeError(f"the broker ended with {self.process.returncode} before it was ready; its log: {self.log}")
            if time.monotonic() - started > READY_WITHIN_S:
                self.kill()
                raise RuntimeError(f"the broker is not ready after {READY_WITHIN_S} s; its log: {self.log}")
            time.sleep(0.01)
        return time.monotonic() - started

    def environment(self):
        return {}

    def kill(self):
        """kill -9, and waits until it is gone."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()

    def cpu_s(self):
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mib(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


class Ouzel(Broker):
    name = "ouzel"

    def __init__(self, binary, directory, shards=1, extra=(), **rest):
        super().__init__(directory, **rest)
        self.binary, self.shards, self.extra = os.path.abspath(binary), shards, list(extra)
        # The same after a restart; each shard listens on one of those that follow.
        self.native_port = free_ports(1 + shards)

    @property
    def native(self):
        """For clients of ouzel's own protocol."""
        return f"127.0.0.1:{self.native_port}"

    def command(self):
        return [self.binary, "serve", "--data-dir", os.path.join(self.directory, "data"), "--kafka", self.bootstrap,
                "--native", self.native, "--admin", "127.0.0.1:0", "--shards", str(self.shards), *self.extra]


class Started(Broker):
    """Whatever BROKER_START says, for brokers that this directory does not know: {port} and {dir} are filled in."""

    name = "broker"

    def command(self):
        # exec, so that the process that is killed is the broker and not a shell.
        return ["sh", "-c", "exec " + os.environ["BROKER_START"].format(port=self.port, dir=self.directory)]


class Kafka(Broker):
    """Apache Kafka as it comes: KRaft, one node in both roles, its own defaults for everything that is not an address or a
    replication factor (which one node cannot have otherwise), or that `settings` name."""

    name = "Apache Kafka"

    def __init__(self, jars, directory, heap="1G", settings=None, **rest):
        super().__init__(directory, **rest)
        self.jars, self.heap, self.controller = jars, heap, free_ports()
        self.data = os.path.join(directory, "data")
        self.config = os.path.join(directory, "server.properties")
        if os.path.exists(self.config):
            return
        with open(self.config, "w") as config:
            config.write(f"""process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{self.controller}
listeners=PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{self.port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={self.data}
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
""")
            config.writelines(f"{name}={value}\n" for name, value in (settings or {}).items())
        subprocess.run([*self.java("128M"), "kafka.tools.StorageTool", "format", "-t", kafka_uuid(), "-c", self.config], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def java(self, heap):
        # The flags of Kafka's own start script.
        return ["java", f"-Xmx{heap}", f"-Xms{heap}", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
                "-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent", "-Djava.awt.headless=true",
                "-cp", os.path.join(self.jars, "*")]

    def command(self):
        return [*self.java(self.heap), "kafka.Kafka", self.config]


def kafka_uuid():
    import base64
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A").replace("_", "B")


class Running:
    """A broker that somebody else started: it is neither stopped nor killed."""

    name = "broker"

    def __init__(self, bootstrap):
        self.bootstrap, self.log = bootstrap, "unknown: it was running already"

    def start(self):
        return 0.0

    def stop(self):
        pass


def remove(directory):
    shutil.rmtree(directory, ignore_errors=True)
