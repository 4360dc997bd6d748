"""Which tasks are due in a superstep, and how what they wrote becomes the next state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from twinstep.channels import NamedBarrierValue
from twinstep.constants import START, TASKS
from twinstep.errors import InvalidUpdateError, did_you_mean
from twinstep.pregel.run import Run
from twinstep.pregel.spec import ProgramSpec
from twinstep.pregel.state import State
from twinstep.pregel.task import NodeTask, pull, push
from twinstep.warnings import JoinWarning, warn


def due_nodes(spec: ProgramSpec, updated: Iterable[str]) -> dict[str, list[str]]:
    """Return the nodes whose triggers were updated, with those triggers."""
    due: dict[str, list[str]] = {}
    for channel in updated:
        for name in spec.triggers[channel]:
            due.setdefault(name, []).append(channel)
    return due


def plan(run: Run) -> list[NodeTask]:
    """Make the tasks of the next superstep: triggered nodes by name, then `Send` packets in the order of sending."""
    state, nodes = run.state, run.spec.nodes
    if len(state.updated) == 1 and state.updated[0] != TASKS:  # mostly; there is nothing to sort or to join
        triggers = tuple(state.updated)
        return [pull(run, nodes[name], triggers) for name in run.spec.triggers[triggers[0]]]
    due = due_nodes(run.spec, state.updated)
    tasks = [pull(run, nodes[name], tuple(due[name])) for name in sorted(due)]
    if TASKS in state.updated:
        for index, packet in enumerate(state.channels[TASKS].get()):
            node = nodes.get(packet.node)
            if node is None:
                raise InvalidUpdateError(
                    f"Send to unknown node '{packet.node}' in '{run.spec.name}'." + did_you_mean(packet.node, nodes)
                )
            tasks.append(push(run, node, index, packet))
    return tasks


def apply(run: Run, tasks: Sequence[NodeTask]) -> None:
    """Apply what the tasks wrote; when that fails and the state is not stored yet, it stays as it was."""
    writes = [task.writes or () for task in tasks]
    consumed = [name for task in tasks for name in task.node.consumes] if run.spec.consumable else ()
    before = run.state.spare(writes, consumed) if run.durability == "exit" else None
    try:
        run.state.apply(writes, consumed)
        if run.spec.check_end is not None and not run.state.updated:
            run.spec.check_end(run.state.view)
    except BaseException:
        run.state = before or run.state
        raise
    if run.spec.fading:
        run.note_output(writes)
    if run.parent is None:
        run.root.answers.clear()
    else:
        run.written += [write for task in tasks if task.name != START for write in task.visible]


def next_names(spec: ProgramSpec, state: State) -> tuple[str, ...]:
    """Return the names of the nodes that are due, in the order of their tasks."""
    names = sorted(due_nodes(spec, state.updated))
    if TASKS in state.updated:
        names += [packet.node for packet in state.channels[TASKS].get()]
    return tuple(names)


def warn_of_joins(run: Run) -> None:
    """Warn of the joins that still wait when nothing is due any more."""
    for name in run.spec.consumable:
        join = run.state.channels[name]
        if isinstance(join, NamedBarrierValue) and join.seen:
            here, missing = (
                ", ".join(sorted(names)) for names in (join.seen, join.names - join.seen - join.late_names)
            )
            ends = ", ".join(run.spec.triggers[name])
            warn(
                JoinWarning(
                    f"'{run.spec.name}' has ended while its join before '{ends}' was waiting: {here} had run, "
                    f"{missing} had not, so '{ends}' did not run. Use add_edge(..., join=n) if some of them are "
                    "enough, or separate edges."
                )
            )
