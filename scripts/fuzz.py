"""Damages files by the thousand and tells what isn't read or refused as it should be.

    python scripts/fuzz.py video --mutations 2000 --first 0

A case is a number: the same number is the same damage. Each kind is a function that makes and reads one
case, and raises what isn't the library's own. The cases run in a process of their own, so that a crash, a
hang or a process that grows is a finding and not the end.
"""

from __future__ import annotations

import argparse
import resource
import select
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

HANG_SECONDS = 30
MOST_BYTES = 2 * 2**30


def video() -> Callable[[int], str]:
    import numpy as np
    from support.broken_videos import damaged, make_videos, read_all

    videos = sorted(make_videos().items())

    def case(number: int) -> str:
        ending, content = videos[number % len(videos)]
        return f"{ending} {read_all(damaged(content, np.random.default_rng([number, 1])))}"

    return case


KINDS = {"video": video}
"""Name -> what prepares a kind and returns its cases: a number in, a word for the outcome out."""


def work(kind: str, first: int, end: int) -> None:
    """Runs cases and writes a line about each; in a process of its own."""
    case = KINDS[kind]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print("ready", flush=True)
    for number in range(first, end):
        try:
            outcome = case(number)
        except Exception as error:  # noqa: BLE001 - a foreign exception is what is looked for
            outcome = f"FOREIGN {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        if grown > MOST_BYTES:
            outcome = f"GREW to {grown >> 20} MiB"
        print(f"{number} {outcome}", flush=True)
        if grown > MOST_BYTES:
            return


def run(kind: str, first: int, end: int) -> Counter[str]:
    """All cases, in as many processes as it takes; prints findings at once."""
    outcomes: Counter[str] = Counter()
    number = first
    while number < end:
        command = [sys.executable, __file__, kind, "--work", str(number), str(end)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1
        ) as process:
            assert process.stdout is not None
            begun = number
            while number < end:
                ready, _, _ = select.select([process.stdout], [], [], HANG_SECONDS)
                line = process.stdout.readline().strip() if ready else ""
                if line == "ready":
                    continue
                if not line and process.poll() not in (None, 0) and number == begun:
                    sys.exit("The cases can't be prepared: run one with --work to see why.")
                if not line:
                    outcome = "CRASH" if ready else "HANG"
                    process.kill()
                else:
                    outcome = line.partition(" ")[2]
                if outcome.split()[0] in ("CRASH", "HANG", "FOREIGN", "GREW"):
                    print(f"{kind} {number}: {outcome}", flush=True)
                    outcome = outcome.split()[0]
                outcomes[outcome] += 1
                number += 1
                if outcome in ("CRASH", "HANG", "GREW"):
                    break
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("kind", choices=sorted(KINDS))
    parser.add_argument("--mutations", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--work", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.kind, *options.work)
        return
    outcomes = run(options.kind, options.first, options.first + options.mutations)
    for outcome, count in sorted(outcomes.items()):
        print(f"{count:6} {outcome}")
    bad = sum(outcomes[word] for word in ("CRASH", "HANG", "FOREIGN", "GREW"))
    print(f"{sum(outcomes.values())} mutations, {bad} findings")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
