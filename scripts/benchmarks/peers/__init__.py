"""Other runtimes of workflows, each measured in the rows it can do.

A module of this package is one peer's adapter. Its functions are named like the cases they repeat and take the same
`Side`; they run in the peer's own environment, so they import the peer, the standard library and
`scripts.benchmarks.case`, and no more.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Peer:
    """A runtime to compare with.

    Args:
        distribution: what is installed; also the name of its column.
        module: its adapter.
        cases: what its adapter can do.
    """

    distribution: str
    module: str
    cases: frozenset[str]


PEERS = (
    Peer("pydantic-graph", "pydantic_graphs", frozenset({"step_async", "fan_async"})),
    Peer("llama-index-workflows", "llama_index", frozenset({"step_async", "fan_async"})),
    Peer("agent-framework-core", "agent_framework", frozenset({"step_async", "fan_async"})),
    Peer("apache-burr", "burr_apps", frozenset({"step_sync", "step_async", "sqlite_step"})),
    Peer("dbos", "dbos_workflows", frozenset({"sqlite_task"})),
)
