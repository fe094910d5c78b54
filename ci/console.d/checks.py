"""What must hold of the console, each check in the order in which a person would come to it. They build upon each other."""
import json
import shutil

import kafka
from webdriver import Failed

TOPIC = "orders"
GROUP = "readers"
SCRIPT = "<script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\">"
LARGE = "x" * 6000
# What a browser has no date for, what would be megabytes of spaces if it were indented, and what would be seen in another order.
ODD, FAR, DEEP, TURNED = "odd", 9_000_000_000_000_000, "[" * 2048 + "]" * 2048, "pay \u202e001 OT"
TAB, ENTER = "\ue004", "\ue007"
SMALL, LARGE_SCREEN = (375, 800), (1600, 1000)


class Skipped(Exception):
    """Why a check cannot be made here."""


def expect(holds, what):
    if not holds:
        raise Failed(what)


def total_lag(browser, lag):
    script = "return document.querySelector('.total-lag')?.textContent === arguments[0]"
    browser.until(f"the lag is {lag}", script, lag)


class Checks:
    def __init__(self, browser, broker, pictures):
        self.browser, self.broker, self.pictures = browser, broker, pictures

    def page(self, hash_, *texts):
        self.browser.go(f"http://{self.broker.admin}/#/{hash_}")
        for text in texts:
            self.browser.see(text)

    def nothing_yet(self):
        """An empty broker says so on every page, and how to begin."""
        self.page("", "Throughput", "Produce latency", "Partitions")
        self.page("topics", "There are no topics yet", "ouzel topic create")
        self.browser.screenshot(f"{self.pictures}/empty-topics.png")
        self.page("groups", "There are no groups yet")
        self.page("topics/nothing", "There is no topic nothing")
        self.page("nowhere", "There is nothing here")

    def create(self):
        """A topic is made with the form, from the keyboard; what is wrong with one is said in the form."""
        browser = self.browser
        self.page("topics", "Create a topic")
        browser.run("document.querySelector('summary').focus()")
        browser.press(ENTER, TAB)
        browser.press(*"not a name", ENTER)
        browser.see("was not created")
        browser.type("#create-name", TOPIC)
        browser.type("#create-partitions", "2")
        browser.press(ENTER)
        browser.until("the new topic's page is shown", "return location.hash === '#/topics/orders'")
        browser.see("Browse messages")
        expect(TOPIC in self.broker.command("topic", "list"), "the broker has the topic")

    def messages(self):
        """What `ouzel produce` sends is there, with its keys; markup in it is text."""
        browser = self.browser
        self.page(f"topics/{TOPIC}/messages?partition=0", "There is nothing to show yet")
        browser.screenshot(f"{self.pictures}/empty-messages.png")
        order = json.dumps({"id": 9007199254740993, "items": [{"sku": "a-1", "count": 2}], "note": None})
        lines = [f"first={order}", f"<b>key</b>={SCRIPT}", f"large={LARGE}"]
        self.broker.command("produce", TOPIC, "--key-separator", "=", "--partition", "0", stdin="\n".join(lines) + "\n")
        browser.click("form button.main")
        for text in ("first", "<b>key</b>", SCRIPT, "Shown: 3", '"id": 9007199254740993,', "Show all 5.9 KiB"):
            browser.see(text)
        inside = browser.run("return document.querySelectorAll('.records script, .records img, .records b').length")
        expect(inside == 0, "no markup was made of a record")
        expect(browser.run("return document.title") != "owned", "no script of a record ran")
        browser.screenshot(f"{self.pictures}/messages-kinds.png")
        browser.click(".records button.small")
        browser.see(LARGE)
        self.odd_messages()

    def odd_messages(self):
        """No record keeps the others from being seen, or looks like what it is not."""
        browser = self.browser
        self.broker.command("topic", "create", ODD, "--partitions", "1")
        kafka.produce(self.broker.kafka, ODD, b"of no date", FAR)
        self.broker.command("produce", ODD, stdin=f"{DEEP}\n{TURNED}\nlast\n")
        self.page(f"topics/{ODD}/messages?partition=0", "last", "of no date", str(FAR), DEEP[:100], "e2 80 ae")
        browser.screenshot(f"{self.pictures}/messages-odd.png")
        styles = browser.run("return [...document.querySelectorAll('.records :is(code, pre)')].map((node) => getComputedStyle(node).unicodeBidi)")
        expect(styles and set(styles) == {"isolate"}, f"what stands beside a value keeps its direction: {styles}")

    def follow(self):
        """A page that follows shows what comes without being asked."""
        self.page(f"topics/{TOPIC}/messages?partition=0", "first")
        self.browser.click(".check input")
        self.broker.command("produce", TOPIC, "--partition", "0", stdin="came by itself\n")
        self.browser.see("came by itself")
        self.browser.click(".check input")

    def headers(self):
        """Headers, values that are no text, and records without a value are shown as what they are."""
        if not shutil.which("kcat"):
            raise Skipped("kcat is not installed")
        kcat = ["-P", "-t", TOPIC, "-p", "1"]
        self.broker.kcat(*kcat, "-k", "k1", "-H", "trace-id=4bf92f35", "-H", f"html={SCRIPT}", stdin="with headers")
        self.broker.kcat(*kcat, "-K", ":", "-Z", stdin="k2:\n")
        self.broker.kcat(*kcat, "-k", "k3", stdin="a\x01b")
        self.page(f"topics/{TOPIC}/messages?partition=1", "trace-id", "4bf92f35", SCRIPT, "with headers")
        self.browser.see("61 01 62")
        badges = self.browser.run("return [...document.querySelectorAll('.value > .badge')].map((badge) => badge.textContent)")
        expect(badges == ["null"], f"a record without a value says so: {badges}")

    def beginnings(self):
        """Records are read from the oldest, from an offset and from a time, and on from there."""
        browser = self.browser
        self.broker.command("produce", TOPIC, "--partition", "0", stdin="".join(f"line {n}\n" for n in range(60)))
        self.page(f"topics/{TOPIC}/messages?partition=0", "line 59")
        expect(not browser.run("return document.querySelector('main').innerText.includes('line 3\\n')"), "only the newest are shown")
        browser.choose("#field-from", "earliest")
        browser.choose("#field-at-most", "20")
        browser.click("form button.main")
        browser.see("line 15")
        browser.click("main > div > div > p button")
        browser.see("line 35")
        browser.choose("#field-from", "offset")
        browser.type("#field-offset", "62")
        browser.click("form button.main")
        browser.see("Shown: 2")
        browser.choose("#field-from", "timestamp")
        browser.run("document.querySelector('#field-time').value = '2001-01-01T00:00:00'")
        browser.click("form button.main")
        browser.see("first")
        browser.choose("#field-from", "offset")
        browser.type("#field-offset", "1000")
        browser.click("form button.main")
        browser.see("lies outside")

    def lag(self):
        """A group's lag falls when it reads and rises when others write."""
        consume = ["consume", TOPIC, "--group", GROUP, "--from", "earliest", "--timeout-ms", "3000"]
        before = self.end_offsets()
        self.broker.command(*consume, "--count", str(before))
        self.page("groups", GROUP)
        self.browser.click("tbody a")
        self.browser.see("Nobody reads now")
        total_lag(self.browser, "0")
        self.broker.command("produce", TOPIC, stdin="".join(f"more {n}\n" for n in range(40)))
        total_lag(self.browser, "40")
        self.browser.screenshot(f"{self.pictures}/group-lag.png")
        self.page("groups", "40")
        self.page(f"groups/{GROUP}", "Lag")
        self.broker.command(*consume, "--count", "40")
        total_lag(self.browser, "0")

    def end_offsets(self):
        described = json.loads(self.broker.command("--json", "topic", "describe", TOPIC))
        return sum(partition["end_offset"] for partition in described["partitions"])

    def shards(self):
        """Both shards are shown and online."""
        self.page("shards", "Read from memory")
        states = self.browser.run("return [...document.querySelectorAll('main .badge')].map((badge) => badge.textContent)")
        expect(states == ["online", "online"], f"both shards are online: {states}")

    def configuration(self):
        """Every setting is shown with where it came from."""
        self.page("configuration", "memory.bytes.max", "128MiB", "flag --set", "default")
        self.browser.click(".check input")
        self.browser.until("defaults are left out", "return !document.querySelector('main').innerText.includes('spin.us')")

    def overview(self):
        """The plots show traffic, and say what they show."""
        self.page("overview", "Throughput")
        # A sample before the traffic and one behind it.
        self.broker.command("topic", "create", "clicks", "--partitions", "4")
        for _ in range(2):
            self.broker.command("produce", "clicks", stdin="".join(f"{n} {'y' * 500}\n" for n in range(4000)))
            self.browser.until("a sample is drawn", "return document.querySelector('.frame polyline') !== null")
        self.browser.until("a latency was seen", "return document.querySelector('.plot:nth-child(3) .frame :is(polyline, circle)') !== null")
        labels = self.browser.run("return [...document.querySelectorAll('.frame svg')].map((svg) => svg.getAttribute('aria-label'))")
        expect(len(labels) == 4 and all(label.startswith("now:") for label in labels), f"each plot has a text: {labels}")

    def screens(self):
        """Every page fits a small and a large screen, in both schemes; every control has a label."""
        pages = {"overview": "overview", "topics": "topics", "topic": f"topics/{TOPIC}",
                 "messages": f"topics/{TOPIC}/messages?partition=1", "groups": "groups", "group": f"groups/{GROUP}",
                 "shards": "shards", "configuration": "configuration"}
        wide, unnamed = [], []
        for width, height in (SMALL, LARGE_SCREEN):
            self.browser.size(width, height)
            for name, hash_ in pages.items():
                self.page(hash_)
                self.browser.until(f"{name} is loaded", "return document.querySelector('main h1') && !document.querySelector('[aria-busy]')")
                if name == "topics":
                    self.browser.run("document.querySelector('details').open = true")
                if self.browser.run("return document.documentElement.scrollWidth > innerWidth"):
                    wide.append(f"{name} at {width}")
                unnamed += self.browser.run("""return [...document.querySelectorAll("main :is(input, select, textarea)")]
                    .filter((node) => node.labels.length === 0).map((node) => `${arguments[0]} ${node.id}`)""", name)
                self.browser.screenshot(f"{self.pictures}/{name}-{width}.png")
        self.browser.scheme("dark")
        for name in ("overview", "messages", "topics"):
            self.page(pages[name])
            self.browser.until("it is loaded", "return document.querySelector('main h1') && !document.querySelector('[aria-busy]')")
            self.browser.screenshot(f"{self.pictures}/{name}-dark.png")
        self.browser.scheme("light")
        expect(not wide, f"nothing is wider than its screen: {wide}")
        expect(not unnamed, f"every control has a label: {unnamed}")

    def delete(self):
        """A topic is deleted only by who types its name."""
        self.page(f"topics/{TOPIC}", "Delete this topic")
        self.browser.click("summary")
        self.browser.type("#delete-name", "order")
        expect(self.browser.run("return document.querySelector('button.danger').disabled"), "half a name deletes nothing")
        self.browser.type("#delete-name", TOPIC)
        self.browser.click("button.danger")
        self.browser.until("the list of topics is shown", "return location.hash === '#/topics'")
        expect(TOPIC not in self.broker.command("topic", "list").split(), "the topic is gone")

    def quiet(self):
        """No error in the browser's console but for what was asked to fail, and nothing was asked of another host."""
        self.browser.listen()
        # The browser notes each answer that is a refusal, and some checks ask for one.
        expected = ("topics/nothing", "offset=1000", "/api/v1/topics - Failed")
        errors = [text for level, text in self.browser.said if level in ("SEVERE", "WARNING") and not any(part in text for part in expected)]
        expect(not errors, f"the console is quiet: {errors}")
        hosts = self.browser.hosts()
        expect(hosts == {self.broker.admin}, f"only the broker is asked: {hosts}")

    def gone(self):
        """A broker that is gone is said to be."""
        self.page("overview", "Throughput")
        self.browser.listen()
        self.broker.stop()
        self.browser.see("The broker does not answer")
        self.browser.screenshot(f"{self.pictures}/gone.png")


ALL = ["nothing_yet", "create", "messages", "follow", "headers", "beginnings", "lag", "shards", "configuration", "overview",
       "screens", "delete", "quiet", "gone"]
