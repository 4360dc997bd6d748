"""LlamaIndex workflows: steps that wait for events. A run's context is kept where the program puts it, if anywhere."""

from scripts.benchmarks.case import Side, Timed
from scripts.benchmarks.cases_graph import FAN, STEPS
from workflows import Context, Workflow, step  # type: ignore[import-not-found]
from workflows.events import Event, StartEvent, StopEvent  # type: ignore[import-not-found]


class Count(Event):  # type: ignore[misc]
    """What the loop hands on."""

    x: int


class Loop(Workflow):  # type: ignore[misc]
    """One step that sends itself an event."""

    @step  # type: ignore[untyped-decorator]
    async def begin(self, event: StartEvent) -> Count:
        return Count(x=0)

    @step  # type: ignore[untyped-decorator]
    async def node(self, event: Count) -> Count | StopEvent:
        x = event.x + 1
        return StopEvent(result=x) if x >= STEPS else Count(x=x)


class Packet(Event):  # type: ignore[misc]
    """One of many."""

    i: int


class Worked(Event):  # type: ignore[misc]
    """What became of one of many."""

    i: int


class Fan(Workflow):  # type: ignore[misc]
    """A step that sends many events, and one that collects what comes of them."""

    @step  # type: ignore[untyped-decorator]
    async def begin(self, context: Context, event: StartEvent) -> Packet | None:
        for i in range(FAN):
            context.send_event(Packet(i=i))
        return None

    @step  # type: ignore[untyped-decorator]
    async def work(self, event: Packet) -> Worked:
        return Worked(i=event.i)

    @step  # type: ignore[untyped-decorator]
    async def gather(self, context: Context, event: Worked) -> StopEvent | None:
        found = context.collect_events(event, [Worked] * FAN)
        return None if found is None else StopEvent(result=len(found))


def step_async(side: Side) -> Timed:
    return timed(Loop(timeout=None), STEPS)


def fan_async(side: Side) -> Timed:
    return timed(Fan(timeout=None), FAN)


def timed(workflow: Workflow, ops: int) -> Timed:
    async def run() -> None:
        assert await workflow.run() == ops

    return Timed(run, ops)
