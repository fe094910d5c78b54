"""Runs rounds of samples, judges the bars and prints the table. Owns the order: a round takes every sample once, so that
what changes on the machine changes for all of them. Behind bench/bars."""

import argparse
import json
import sys
import tempfile

import bars
from run import Machine, Missing


def arguments():
    parser = argparse.ArgumentParser(prog="bench/bars")
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--dir", required=True)
    parser.add_argument("--ouzel", required=True)
    parser.add_argument("--target", required=True)
    return parser.parse_args()


def take(machine, wanted, rounds):
    """Every sample that the wanted bars need, once a round; what cannot be taken is a reason instead."""
    names = []
    for bar in wanted:
        names.extend(name for name in bar.samples if name not in names)
    taken = []
    for number in range(1, rounds + 1):
        samples = {}
        for name in names:
            print(f"round {number} of {rounds}: {name}", file=sys.stderr, flush=True)
            try:
                samples[name] = bars.SAMPLES[name](machine, samples)
            except Missing as missing:
                samples[name] = missing
        taken.append(samples)
    return taken


def judge(bar, rounds):
    missing = {str(samples[name]) for samples in rounds for name in bar.samples if isinstance(samples[name], Missing)}
    if missing:
        return bars.Verdict("not measured", "; ".join(sorted(missing)))
    return bar.judge(rounds)


def print_table(rows):
    header = ("bar", "required", "measured", "verdict")
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(4)]
    for row in [header, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def main():
    args = arguments()
    if args.list:
        for bar in bars.BARS:
            print(f"{bar.name:20} {bar.required}")
        return 0
    unknown = set(args.only) - {bar.name for bar in bars.BARS}
    if unknown:
        print(f"bench/bars: no bar is called {', '.join(sorted(unknown))}; --list names them", file=sys.stderr)
        return 2
    wanted = [bar for bar in bars.BARS if not args.only or bar.name in args.only]
    with tempfile.TemporaryDirectory(prefix="ouzel-bars-", dir=args.dir) as directory:
        machine = Machine(args.ouzel, args.target, directory, args.quick)
        rounds = take(machine, wanted, args.rounds)
    verdicts = [(bar, judge(bar, rounds)) for bar in wanted]
    if args.json:
        print(json.dumps({
            "bars": [{"bar": bar.name, "required": bar.required, "measured": verdict.measured, "verdict": verdict.word}
                     for bar, verdict in verdicts],
            "rounds": [{name: str(value) if isinstance(value, Missing) else value for name, value in samples.items()}
                       for samples in rounds],
        }))
    else:
        print_table([(bar.name, bar.required, verdict.measured, verdict.word) for bar, verdict in verdicts])
    return 1 if any(verdict.word == "falls short" for _, verdict in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
