"""Libraries that a program may use too: what twinstep does for one is loaded when the program has loaded it."""

from __future__ import annotations

import sys
from importlib import import_module

INTEGRATIONS = {"langchain_core": "twinstep.integrations.langchain"}
"""The module that knows each library."""


def meet_neighbours() -> bool:
    """Load the integrations of libraries that are loaded themselves, and tell whether there was one to load.

    Called where it matters and costs nothing: before a run streams messages or has callbacks, and when a value's type
    is not known. twinstep never loads the library.
    """
    waiting = [name for name, module in INTEGRATIONS.items() if name in sys.modules and module not in sys.modules]
    for name in waiting:
        import_module(INTEGRATIONS[name])
    return bool(waiting)
