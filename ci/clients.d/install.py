"""The clients at their pinned versions, each kind in its own directory below target/clients.

What is there already is used; what is missing is asked of its registry once, without retries. A kind that cannot be had
gives its reason, and the rows that need it are skipped.
"""
import hashlib
import os
import shutil
import subprocess

KAFKA = "4.4.0"
SCALA = "2.13"
PYPI = ["confluent-kafka==2.16.1", "kafka-python==3.0.12", "aiokafka==0.14.0",
        # Codecs of the two that bring none.
        "python-snappy==0.7.3", "cramjam==2.14.0", "lz4==4.4.5", "zstandard==0.25.0"]
# kafkajs has gzip only; the other codecs are packages that anybody may plug in. These are pure JavaScript, WebAssembly, or
# carry their binary in the package.
NPM = ["kafkajs@2.2.4", "kafkajs-snappy@1.1.0", "lz4-napi@2.10.0", "zstd-codec@0.1.5"]

HERE = os.path.dirname(os.path.abspath(__file__))
INSTALL_S_MAX = 240
# A registry that does not answer is given up after this long.
REACH_S_MAX = 60

POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>ouzel</groupId><artifactId>clients</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_{SCALA}</artifactId><version>{KAFKA}</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{KAFKA}</version></dependency>
  </dependencies>
</project>
"""


class Unavailable(Exception):
    """Why a kind of client cannot be had here."""


def once(method):
    """A kind that could not be had is not asked for again by the next client that needs it."""
    def asked(self):
        if method.__name__ in self.refused:
            raise self.refused[method.__name__]
        try:
            return method(self)
        except Unavailable as why:
            self.refused[method.__name__] = why
            raise
    return asked


class Installed:
    def __init__(self, root, log):
        self.root, self.log, self.refused = os.path.abspath(root), log, {}
        os.makedirs(self.root, exist_ok=True)

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    @once
    def python(self):
        """The interpreter of an environment that has the clients from PyPI."""
        need("python3")
        interpreter = self.path("python", "bin", "python")
        with self.fresh("python", *PYPI) as missing:
            if missing:
                self.run(["python3", "-m", "venv", self.path("python")])
                self.run([interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "0",
                          "--timeout", str(REACH_S_MAX), "--only-binary", ":all:", *PYPI])
        return interpreter

    @once
    def jars(self):
        """The directory of Kafka's jars, all that its clients, tools and broker need."""
        need("java")
        need("mvn")
        with self.fresh("java", POM) as missing:
            if missing:
                with open(self.path("java", "pom.xml"), "w") as pom:
                    pom.write(POM)
                self.run(["mvn", "-q", "-B", "-f", self.path("java", "pom.xml"), "dependency:copy-dependencies",
                          f"-DoutputDirectory={self.path('java', 'jars')}", "-DincludeScope=runtime",
                          "-Dmaven.wagon.http.retryHandler.count=0", "-Daether.connector.http.retryHandler.count=0",
                          f"-Daether.connector.connectTimeout={REACH_S_MAX * 1000}"])
        return self.path("java", "jars")

    @once
    def java(self):
        """The class path of JavaClient."""
        return self.java_of(os.path.join(HERE, "JavaClient.java"), "java-client")

    def java_of(self, source, kind="java-members"):
        """The class path of a program that uses Kafka's jars, compiled into a directory of its own."""
        jars = self.jars()
        need("javac")
        with self.fresh(kind, KAFKA, contents(source)) as missing:
            if missing:
                self.run(["javac", "-nowarn", "-cp", os.path.join(jars, "*"), "-d", self.path(kind), source])
        return self.path(kind) + ":" + os.path.join(jars, "*")

    @once
    def node(self):
        """The directory below which kafkajs is found."""
        need("node")
        need("npm")
        with self.fresh("node", *NPM) as missing:
            if missing:
                with open(self.path("node", "package.json"), "w") as package:
                    package.write('{"private": true}\n')
                self.run(["npm", "install", "--no-audit", "--no-fund", "--save-exact", "--ignore-scripts", "--fetch-retries=0",
                          f"--fetch-timeout={REACH_S_MAX * 1000}", *NPM], cwd=self.path("node"))
        return self.path("node", "node_modules")

    @once
    def go(self):
        """The program that uses kafka-go; its versions are pinned by go.mod and go.sum."""
        need("go")
        source = os.path.join(HERE, "go")
        with self.fresh("go", *(contents(os.path.join(source, name)) for name in ("go.mod", "go.sum", "main.go"))) as missing:
            if missing:
                self.run(["go", "build", "-mod=readonly", "-o", self.path("go", "client"), "."], cwd=source,
                         env={"GOTOOLCHAIN": "local", "GOFLAGS": ""})
        return self.path("go", "client")

    def kcat(self):
        """From Debian's package, which ci/prepare installs."""
        return need("kcat")

    def fresh(self, kind, *pins):
        return Fresh(self.path(kind), hashlib.sha256("\n".join(pins).encode()).hexdigest())

    def run(self, command, cwd=None, env=None):
        with open(self.log, "ab") as log:
            log.write((" ".join(command) + "\n").encode())
            log.flush()
            try:
                done = subprocess.run(command, cwd=cwd, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, stdout=log,
                                      stderr=log, timeout=INSTALL_S_MAX)
            except subprocess.TimeoutExpired:
                raise Unavailable(f"{command[0]} did not end within {INSTALL_S_MAX} s; see {self.log}") from None
        if done.returncode:
            raise Unavailable(f"{os.path.basename(command[0])} could not install it; see {self.log}")


class Fresh:
    """True inside `with` where the directory does not hold these pins yet; it is marked as holding them when that went well."""

    def __init__(self, directory, pins):
        self.directory, self.pins, self.mark = directory, pins, os.path.join(directory, "installed")

    def __enter__(self):
        self.missing = not os.path.exists(self.mark) or contents(self.mark) != self.pins
        if self.missing:
            shutil.rmtree(self.directory, ignore_errors=True)
            os.makedirs(self.directory)
        return self.missing

    def __exit__(self, kind, *_):
        if self.missing and kind is None:
            with open(self.mark, "w") as mark:
                mark.write(self.pins)


def contents(path):
    with open(path) as file:
        return file.read()


def need(program):
    found = shutil.which(program)
    if not found:
        raise Unavailable(f"{program} is not installed")
    return found
