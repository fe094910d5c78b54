"""Runs the checks of the console, one after the other, and counts them."""
import argparse
import os
import shutil
import sys
import tempfile

from broker import Broker
from checks import ALL, Checks, LARGE_SCREEN, Skipped
from webdriver import Browser, Failed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ouzel", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    missing = [program for program in ("chromium", "chromedriver") if not shutil.which(program)]
    if missing:
        print(f"skipped: {', '.join(missing)} not installed, and not to be had here")
        print(f"0 passed, 0 failed, {len(ALL)} skipped")
        return 0
    pictures = os.path.join(args.target, "console")
    shutil.rmtree(pictures, ignore_errors=True)
    os.makedirs(pictures)
    directory = tempfile.mkdtemp(prefix="ouzel-console-", dir=args.target)
    failed = played(args, directory, pictures)
    if failed or args.keep:
        print(f"data and logs are in {directory}")
    else:
        shutil.rmtree(directory)
    return 1 if failed else 0


def played(args, directory, pictures):
    broker = Broker(args.ouzel, directory)
    try:
        browser = Browser(os.path.join(directory, "chromedriver.log"))
        try:
            browser.size(*LARGE_SCREEN)
            counts = {"passed": 0, "failed": 0, "skipped": 0}
            checks = Checks(browser, broker, pictures)
            for name in ALL:
                counts[outcome(checks, name)] += 1
        finally:
            browser.close()
    finally:
        if not broker.process.stdin.closed:
            broker.stop()
    print(f"screenshots are in {pictures}")
    print(", ".join(f"{count} {word}" for word, count in counts.items()))
    return counts["failed"]


def outcome(checks, name):
    try:
        check = getattr(checks, name)
        check()
        print(f"ok      {name}: {check.__doc__}", flush=True)
        return "passed"
    except Skipped as why:
        print(f"skipped {name}: {why}", flush=True)
        return "skipped"
    except (Failed, RuntimeError) as why:
        print(f"FAILED  {name}: {why}", flush=True)
        checks.browser.screenshot(os.path.join(checks.pictures, f"failed-{name}.png"))
        return "failed"


if __name__ == "__main__":
    sys.exit(main())
