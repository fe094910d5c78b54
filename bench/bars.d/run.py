"""What samples are made with: runs of `ouzel bench` and fio, a broker of our own, and what /proc says of it. Owns every
process it starts and ends it; judges nothing."""

import json
import os
import shutil
import subprocess
import tempfile
import time

BROKER_CORE = 0
GENERATOR_CORE = 1
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Missing(Exception):
    """A sample cannot be taken here: a program is not there, or a run failed. The bar is not measured, and says why."""


def pinned(core):
    """For Popen: the child runs on one core."""
    return lambda: os.sched_setaffinity(0, {core})


def behind_others(core):
    """For Popen: the child runs on one core while nothing else wants to."""
    def prepare():
        os.sched_setaffinity(0, {core})
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    return prepare


def run(command, core=None, **kwargs):
    """Stdout of a command that must succeed."""
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          preexec_fn=None if core is None else pinned(core), check=False, **kwargs)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise Missing(f"{os.path.basename(str(command[0]))} {command[1] if len(command) > 1 else ''} failed: {last}")
    return done.stdout


class Machine:
    """The binaries, the directory and the size of the windows."""

    def __init__(self, ouzel, target, directory, is_quick):
        self.ouzel_path, self.target, self.directory, self.is_quick = ouzel, target, directory, is_quick
        self.journal_mib = 64 if is_quick else 512
        self.seconds = 1 if is_quick else 5
        self.examples = {}

    def bench(self, kind, *words):
        """One run of `ouzel bench` as its JSON."""
        return json.loads(run([self.ouzel_path, "bench", kind, *words, "--json"]))

    def embedded(self, kind, *words):
        """The same on a broker of its own: one shard on core 0, the generator on core 1."""
        return self.bench(kind, *words, "--embedded", "--shards", 1, "--dir", self.directory, "--broker-cpu", BROKER_CORE,
                          "--cpu", GENERATOR_CORE, "--set", f"journal.bytes.max={self.journal_mib}MiB")

    def produce(self, *words):
        """Durable produce over rounds of the journal (rule M2)."""
        wraps = ["--warmup-wraps", 1, "--wraps", 1] if self.is_quick else ["--warmup-wraps", 3, "--wraps", 2]
        return self.embedded("produce", "--durability", "disk", *wraps, *words)

    def fio(self, *words, seconds=None):
        """One fio job in a directory of its own, on the broker's core."""
        directory = tempfile.mkdtemp(prefix="fio-", dir=self.directory)
        try:
            text = run(["fio", "--name=f", f"--directory={directory}", "--direct=1", "--ioengine=io_uring", "--time_based",
                        f"--runtime={seconds or self.seconds}", "--output-format=json", *words], core=BROKER_CORE)
            return json.loads(text[text.index("{"):])["jobs"][0]
        finally:
            shutil.rmtree(directory)

    def example(self, package, name, *features):
        """Path of a release build of an example; built once."""
        key = (package, name, features)
        if key not in self.examples:
            source = {"ouzel-runtime": "runtime", "ouzel-bench": "bench", "ouzel-broker-clients": "broker/clients"}[package]
            if not os.path.exists(f"{source}/examples/{name}.rs"):
                raise Missing(f"{source}/examples/{name}.rs is not there")
            flags = ["--features", ",".join(features)] if features else []
            run(["cargo", "build", "--release", "--locked", "-p", package, "--example", name, *flags])
            # Another set of features builds over it: each keeps a copy.
            built = os.path.join(self.directory, "-".join([name, *features]))
            shutil.copy(f"{self.target}/release/examples/{name}", built)
            self.examples[key] = built
        return self.examples[key]


class Serve:
    """A broker on core 0 with a data directory that outlives it; killed when the block ends."""

    def __init__(self, machine, data_dir, *words):
        self.ouzel_path = machine.ouzel_path
        self.log = open(os.path.join(machine.directory, "serve.log"), "a", encoding="utf-8")
        started = time.monotonic()
        command = [self.ouzel_path, "serve", "--data-dir", data_dir, "--native", "127.0.0.1:0", "--kafka", "127.0.0.1:0",
                   "--admin", "127.0.0.1:0", "--shards", "1", "--stop-with-stdin", *words]
        self.child = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=self.log, text=True, preexec_fn=pinned(BROKER_CORE))
        line = self.child.stdout.readline()
        self.ready_s = time.monotonic() - started
        fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
        if "native" not in fields:
            self.kill()
            raise Missing("the broker did not become ready")
        self.native, self.kafka, self.pid = fields["native"], fields["kafka"], self.child.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def kill(self):
        """kill -9, reaped."""
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        self.child.stdin.close()
        self.child.stdout.close()
        self.log.close()

    def command(self, *words):
        """Stdout of an `ouzel` command against this broker, on the generator's core."""
        return run([self.ouzel_path, *words, "--bootstrap", self.native], core=GENERATOR_CORE)

    def bench(self, kind, *words):
        """One run of `ouzel bench` against this broker."""
        pid = ["--broker-pid", self.pid]
        return json.loads(self.command("bench", kind, *words, *pid, "--json"))

    def start(self, kind, *words):
        """`ouzel bench` in the background, on what the generator's core has left: a load that is measured beside it must not
        wait for its turn on that core. The caller ends it."""
        command = [self.ouzel_path, "bench", kind, *words, "--bootstrap", self.native, "--json"]
        return subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                preexec_fn=behind_others(GENERATOR_CORE))

    def counter(self, name):
        """A counter summed over the shards."""
        node = json.loads(self.command("cluster", "status", "--json"))["nodes"][0]
        return sum(shard["counters"].get(name, 0) for shard in node["shards"])

    def status(self, field):
        """A field of /proc/PID/status in bytes."""
        with open(f"/proc/{self.pid}/status", encoding="utf-8") as text:
            for line in text:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) * 1024
        raise Missing(f"{field} is not known")

    def rss(self):
        """Resident memory now."""
        return self.status("VmRSS")

    def cpu_s(self):
        """User and system time of all threads."""
        with open(f"/proc/{self.pid}/stat", encoding="utf-8") as text:
            fields = text.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND

    def idle_cpu(self, seconds):
        """Share of a core used while nobody asks for anything."""
        before = self.cpu_s()
        time.sleep(seconds)
        return (self.cpu_s() - before) / seconds
