"""A browser without a window, driven over WebDriver: the part of the protocol that is needed, over the standard library's HTTP."""
import base64
import json
import os
import re
import subprocess
import time
import urllib.error
import urllib.request
from urllib.parse import urlsplit

ANSWER_WITHIN_S = 60
# What a page has to do is done within this; a slow machine is no failure.
PATIENCE_S = 30
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Failed(Exception):
    """The page is not as it should be."""


class Browser:
    """One session of Chromium. Everything that it says in its console, and every address that it asks, is kept."""

    def __init__(self, log):
        with open(log, "wb") as file:
            self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=file)
        self.said, self.asked = [], []
        self.base = f"http://127.0.0.1:{self._port()}"
        # Root has no sandbox, and a container's /dev/shm may be too small.
        arguments = ["--headless=new", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars", "--force-device-scale-factor=1"]
        if os.geteuid() == 0:
            arguments.append("--no-sandbox")
        wanted = {"browserName": "chrome", "goog:chromeOptions": {"args": arguments},
                  "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        try:
            answer = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        except BaseException:
            self._end_driver()
            raise
        self.base += f"/session/{answer['sessionId']}"

    def _port(self):
        for line in self.driver.stdout:
            found = re.search(rb"started successfully on port (\d+)", line)
            if found:
                return int(found[1])
        raise Failed("chromedriver does not start")

    def _call(self, method, path, body=None):
        data = None if body is None and method == "GET" else json.dumps(body or {}).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_WITHIN_S) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            value = json.load(error)["value"]
            raise Failed(f"{value['error']}: {value['message'].splitlines()[0]}") from None

    def close(self):
        try:
            self._call("DELETE", "")
        finally:
            self._end_driver()

    def _end_driver(self):
        self.driver.terminate()
        self.driver.wait()
        self.driver.stdout.close()

    def cdp(self, command, **parameters):
        return self._call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def size(self, width, height):
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 700)

    def scheme(self, name):
        self.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def go(self, address):
        self._call("POST", "/url", {"url": address})

    def run(self, script, *arguments):
        """The value of a function's body in the page."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def until(self, what, script, *arguments):
        """Waits until a function's body gives something true in the page, and returns it."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            value = self.run(script, *arguments)
            if value:
                return value
            if time.monotonic() > deadline:
                raise Failed(f"{what}: not so within {PATIENCE_S} s")
            time.sleep(0.1)

    def see(self, text, where="main"):
        """Waits until the page shows this text."""
        script = "return document.querySelector(arguments[0])?.innerText.includes(arguments[1])"
        self.until(f"“{text}” is shown in {where}", script, where, text)

    def find(self, selector):
        self.until(f"{selector} is there", "return document.querySelector(arguments[0]) !== null", selector)
        return self._call("POST", "/element", {"using": "css selector", "value": selector})[ELEMENT]

    def click(self, selector):
        self._call("POST", f"/element/{self.find(selector)}/click")

    def type(self, selector, text):
        element = self.find(selector)
        self._call("POST", f"/element/{element}/clear")
        self._call("POST", f"/element/{element}/value", {"text": text})

    def choose(self, selector, value):
        script = """const node = document.querySelector(arguments[0]); node.value = arguments[1];
                    node.dispatchEvent(new Event("change", { bubbles: true })); return node.value === arguments[1]"""
        self.find(selector)
        if not self.run(script, selector, value):
            raise Failed(f"{selector} has no choice {value}")

    def press(self, *keys):
        """Presses keys, one after the other, where the focus is."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._call("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def screenshot(self, path):
        """The whole page, as wide as the screen is."""
        height = self.run("return document.documentElement.scrollHeight")
        width, seen = self.run("return [innerWidth, innerHeight]")
        clip = {"x": 0, "y": 0, "width": width, "height": max(seen, height), "scale": 1}
        data = self.cdp("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))

    def listen(self):
        """Takes up what the browser has said and asked since the last time."""
        for entry in self._call("POST", "/se/log", {"type": "browser"}):
            self.said.append((entry["level"], entry["message"]))
        for entry in self._call("POST", "/se/log", {"type": "performance"}):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self.asked.append(message["params"]["request"]["url"])

    def hosts(self):
        return {urlsplit(url).netloc for url in self.asked if not url.startswith(("data:", "about:", "chrome:"))}
