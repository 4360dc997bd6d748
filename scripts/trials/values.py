"""Values of every kind, stored and read again, and what the saver in memory holds."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Iterator
from threading import Lock
from typing import Any

from scripts.trials.races import appending
from scripts.trials.trial import Figure, Scale, Trial

from tests.serde.samples import SAMPLES, same
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.errors import EncodingError
from twinstep.serde import Serializer


class Stranger:
    """A class that nobody has registered."""


REFUSED = [Stranger(), Stranger, Lock(), open, iter([]), lambda: None, object(), sys]
"""What cannot be stored."""


def round_trips(scale: Scale) -> Iterator[Figure]:
    """Round trips of all kinds of values."""
    serde, changed = Serializer(), 0
    for value in SAMPLES.values():
        changed += not same(value, serde.loads(serde.dumps(value)))
    yield Figure("silently changed", changed, 0, len(SAMPLES))
    unnamed = 0
    for value in REFUSED:
        try:
            serde.dumps({"deep": [value]}, at="state.key")
        except EncodingError as error:
            unnamed += "state.key" not in str(error)
        else:
            unnamed += 1
    yield Figure("refused without naming the place", unnamed, 0, len(REFUSED))


def held_in_memory(scale: Scale) -> Iterator[Figure]:
    """What the saver in memory holds for each run of a small graph."""
    graph: Any = appending(InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    graph.invoke({"log": [0]}, config)
    tracemalloc.start()
    before, runs = tracemalloc.get_traced_memory()[0], scale(500)
    for n in range(runs):
        graph.invoke({"log": [n]}, config)
    held = (tracemalloc.get_traced_memory()[0] - before) / runs / 1000
    tracemalloc.stop()
    yield Figure("kB for each run", round(held, 2), 4, runs)


TRIALS: list[Trial] = [round_trips, held_in_memory]
