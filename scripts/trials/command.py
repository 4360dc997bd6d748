"""The command: runs trials and prints their figures."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from scripts.trials import crashes, damage, hostile, kills, outages, programs, races, values
from scripts.trials.trial import Scale, Trial

TRIALS: list[Trial] = [
    each for module in (kills, crashes, outages, races, programs, damage, hostile, values) for each in module.TRIALS
]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the trials; the status tells whether all bars were met."""
    parser = argparse.ArgumentParser(
        prog="scripts/durability",
        description="Kill processes, fail writes, race writers, change programs and damage bytes; print what was lost.",
    )
    parser.add_argument("--quick", action="store_true", help="a fifth of the trials: two minutes")
    parser.add_argument("--only", default="", metavar="TEXT", help="only trials with this text in their title")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of what is chosen at random")
    options = parser.parse_args(arguments)
    chosen = [trial for trial in TRIALS if options.only.lower() in title(trial).lower()]
    if not chosen:
        sys.exit(f"No trial has {options.only!r} in its title; they are:\n  " + "\n  ".join(map(title, TRIALS)))
    print(f"seed {options.seed}")
    missed = 0
    for trial in chosen:
        print(f"\n{title(trial)}")
        for figure in trial(Scale(options.quick, options.seed)):
            missed += not figure.met
            verdict = "met" if figure.met else "NOT MET"
            print(f"  {figure.what:<86}{figure.found:>8.4g} of {figure.of:<8}bar {figure.bar:g}  {verdict}", flush=True)
    print(f"\n{missed or 'no'} bar{'' if missed == 1 else 's'} missed")
    return 1 if missed else 0


def title(trial: Trial) -> str:
    """Return what a trial is called."""
    return (trial.__doc__ or "").splitlines()[0]
