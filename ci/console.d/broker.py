"""The broker that the console belongs to, and the command line that fills it."""
import os
import re
import subprocess

COMMAND_WITHIN_S = 60


class Broker:
    """A process on free ports, with data and log below `directory`. It ends when its stdin is closed, whatever becomes of us."""

    def __init__(self, ouzel, directory):
        self.ouzel, self.directory = ouzel, directory
        os.makedirs(directory, exist_ok=True)
        any_port = "127.0.0.1:0"
        with open(os.path.join(directory, "broker.log"), "wb") as log:
            self.process = subprocess.Popen(
                [ouzel, "serve", "--data-dir", os.path.join(directory, "data"), "--kafka", any_port, "--native", any_port,
                 "--admin", any_port, "--shards", "2", "--set", "memory.bytes.max=128MiB", "--set", "journal.bytes.max=32MiB",
                 "--set", "group.initial.rebalance.delay.ms=0", "--stop-with-stdin"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        line = self.process.stdout.readline()
        ready = re.match(r"ouzel ready kafka=(\S+) native=(\S+) admin=(\S+)", line)
        if not ready:
            raise RuntimeError(f"the broker does not start: {line or 'see broker.log'}")
        self.kafka, self.native, self.admin = ready.groups()

    def command(self, *arguments, stdin=""):
        """Runs `ouzel` against this broker; returns what it printed."""
        return run([self.ouzel, "--bootstrap", self.native, *arguments], stdin)

    def kcat(self, *arguments, stdin=""):
        return run(["kcat", "-b", self.kafka, *arguments], stdin)

    def stop(self):
        self.process.stdin.close()
        self.process.wait(timeout=COMMAND_WITHIN_S)
        self.process.stdout.close()


def run(command, stdin):
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=COMMAND_WITHIN_S)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout
