"""Run the desk: `python examples/editorial_desk [FOLDER]`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)  # so that this folder is the package it looks like
    from editorial_desk.command import main

    sys.exit(main())
