"""The picture of a program: its nodes and transitions, the graphs nested in it, the calls of a recorded run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import starmap
from typing import Any

from twinstep.checkpoint.format import Record, decode_checkpoint, decode_record
from twinstep.checkpoint.rows import Loaded
from twinstep.constants import END, START
from twinstep.drawing import Edge, Graph, Node
from twinstep.errors import CheckpointNotFoundError
from twinstep.ids import path_id
from twinstep.pregel.effects import Program, load
from twinstep.pregel.run import QUESTIONS, Run
from twinstep.pregel.spec import NodeSpec, ProgramSpec

GAP = 8  # calls in a row without a record, after which a caller is taken to have made no more of that name


def outline(spec: ProgramSpec) -> Graph:
    """Draw a program from what it declares; nothing of it runs."""
    graph = Graph({START: Node(START, START)})
    for name, node in spec.nodes.items():
        if name != START:
            graph.nodes[name] = Node(name, name, node.action.code, _metadata(spec, node))
    graph.edges = _merged(edge for edge in starmap(Edge, spec.transitions()) if edge.source in graph.nodes)
    leaves = graph.nodes.keys() - {edge.source for edge in graph.edges}
    graph.edges += [Edge(name, END) for name in sorted(leaves)]
    if any(edge.target == END for edge in graph.edges):
        graph.nodes[END] = Node(END, END)
    return graph


def _metadata(spec: ProgramSpec, node: NodeSpec) -> dict[str, Any] | None:
    """Return what is shown below a node: its own metadata, whether it waits for all others, and its breakpoints."""
    shown = dict(node.metadata or {})
    if any(spec.channels[trigger].late for trigger in node.triggers):
        shown["defer"] = True
    stops = {"before": spec.interrupt_before, "after": spec.interrupt_after}
    asked = [when for when, names in stops.items() if node.name in names or "*" in names]
    if asked:
        shown["__interrupt"] = ",".join(asked)
    return shown or None


def _merged(edges: Iterable[Edge]) -> list[Edge]:
    """Return one edge for each pair of nodes: conditional if none is taken always. It has their labels."""
    pairs: dict[tuple[str, str], list[Edge]] = {}
    for edge in edges:
        pairs.setdefault((edge.source, edge.target), []).append(edge)
    found = []
    for (source, target), same in sorted(pairs.items()):
        static = [edge for edge in same if not edge.conditional]
        labels = dict.fromkeys(edge.data for edge in static or same if edge.data is not None)
        found.append(Edge(source, target, ", ".join(labels) or None, not static))
    return found


def open_up(graph: Graph, id: str, inner: Graph) -> None:
    """Put the nodes of a nested graph in the place of the node it is nested in.

    Its start and end are left out where they would only lengthen a line.
    """
    entry, exit = START, END if END in inner.nodes else START
    out, into = ([e for e in inner.edges if e.source == entry], [e for e in inner.edges if e.target == exit])
    dropped = set()
    if len(out) == 1 and not out[0].conditional and sum(e.target == out[0].target for e in inner.edges) == 1:
        dropped.add(entry)
        entry = out[0].target
    if len(into) == 1 and not into[0].data and sum(e.source == into[0].source for e in inner.edges) == 1:
        dropped.add(exit)
        exit = into[0].source
    nodes: dict[str, Node] = {}
    for name, node in graph.nodes.items():
        if name != id:
            nodes[name] = node
            continue
        kept = [each for each in inner.nodes.values() if each.id not in dropped]
        nodes |= {f"{id}:{each.id}": each._replace(id=f"{id}:{each.id}") for each in kept}
    graph.nodes = nodes
    first, last = f"{id}:{entry}", f"{id}:{exit}"
    graph.edges = [
        edge._replace(
            source=last if edge.source == id else edge.source, target=first if edge.target == id else edge.target
        )
        for edge in graph.edges
    ] + [
        edge._replace(source=f"{id}:{edge.source}", target=f"{id}:{edge.target}")
        for edge in inner.edges
        if dropped.isdisjoint((edge.source, edge.target))
    ]


def recorded_calls(run: Run, checkpoint_id: str | None) -> Program[Graph]:
    """Draw an entrypoint with the tasks that its last run (or the one of a checkpoint) has called.

    The records of calls tell their names and outcomes; who called whom is found by their ids, which are digests of the
    place of the call. Calls with a `key=` cannot be found so, and are shown below the body.

    Raises:
        CheckpointNotFoundError: the checkpoint does not exist.
    """
    assert run.saver is not None
    loaded = yield from load(run.saver, run.place.thread_id, run.ns, checkpoint_id)
    graph = outline(run.spec)
    if not loaded.rows:
        if checkpoint_id is not None:
            raise CheckpointNotFoundError(f"Checkpoint '{checkpoint_id}' does not exist in {run.place}.")
        return graph
    last = decode_checkpoint(run.saver.serde, run.place, loaded.rows[-1])
    if last.source == "loop" and last.parent is not None:  # what the body called is kept with what it began from
        loaded = yield from load(run.saver, run.place.thread_id, run.ns, last.parent)
        last = decode_checkpoint(run.saver.serde, run.place, loaded.rows[-1])
    name = next(iter(run.spec.nodes))
    calls = _calls(run, loaded)
    roots = {(row.run, run.ns, last.step + 1, "pull", name) for row in loaded.records}
    _draw_calls(graph, name, _callers(calls, roots), calls)
    return graph


def _calls(run: Run, loaded: Loaded) -> dict[str, list[Record]]:
    """Return what is on record of each call, by its id."""
    assert run.saver is not None
    found: dict[str, list[Record]] = {}
    for row in loaded.records:
        record = decode_record(run.saver.serde, run.place, row)
        if record.kind in ("result", "error", "questions"):
            found.setdefault(row.id.removeprefix(QUESTIONS), []).append(record)
    return found


def _callers(calls: dict[str, list[Record]], roots: Iterable[tuple[Any, ...]]) -> dict[str, tuple[str, ...]]:
    """Return the names on the way from the body to each call, as far as their places can be found again."""
    names = {records[0].name for records in calls.values()}
    found: dict[str, tuple[str, ...]] = {}
    places: list[tuple[tuple[Any, ...], tuple[str, ...]]] = [(root, ()) for root in roots]
    for path, trail in places:
        for name in names:
            n = missed = 0
            while missed < GAP:
                place = (*path, name, n)
                id = path_id(place)
                missed = 0 if id in calls else missed + 1
                if id in calls:
                    found[id] = (*trail, name)
                    places.append((place, found[id]))
                n += 1
    return found


def _draw_calls(graph: Graph, body: str, trails: dict[str, tuple[str, ...]], calls: dict[str, list[Record]]) -> None:
    """Add one node for all calls of one name by one caller."""
    grouped: dict[tuple[str, ...], list[Sequence[Record]]] = {}
    for id, records in calls.items():
        trail = trails.get(id)
        if trail is None and records[0].name == body:
            continue  # the body's own outcome
        grouped.setdefault(trail or (records[0].name,), []).append(records)
    for trail, several in sorted(grouped.items()):
        kinds = [{record.kind for record in records} for records in several]
        counts = {
            "calls": len(several) if len(several) > 1 else 0,
            "failed": sum("error" in kind for kind in kinds),
            "waiting": sum(kind == {"questions"} for kind in kinds),
        }
        id = "/".join((body, *trail))
        graph.nodes[id] = Node(id, trail[-1], None, {key: n for key, n in counts.items() if n} or None)
        graph.edges.append(Edge(id.rpartition("/")[0], id, None, True))
