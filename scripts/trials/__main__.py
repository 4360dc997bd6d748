"""Run the trials: `python scripts/trials [options]`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])  # so that this folder is the package it looks like
    from scripts.trials.command import main

    sys.exit(main())
