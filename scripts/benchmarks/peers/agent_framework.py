"""Microsoft Agent Framework: executors that send each other messages, in supersteps. Its checkpoints are JSON files."""

from typing import Never

from agent_framework import Executor, Workflow, WorkflowBuilder, WorkflowContext, handler  # type: ignore
from scripts.benchmarks.case import Side, Timed
from scripts.benchmarks.cases_graph import FAN, STEPS


class Node(Executor):  # type: ignore[misc]
    """Sends itself the next number."""

    @handler  # type: ignore[untyped-decorator]
    async def bump(self, x: int, context: WorkflowContext[int, int]) -> None:
        if x + 1 >= STEPS:
            await context.yield_output(x + 1)
        else:
            await context.send_message(x + 1)


class Split(Executor):  # type: ignore[misc]
    """Sends many messages."""

    @handler  # type: ignore[untyped-decorator]
    async def split(self, packets: int, context: WorkflowContext[int]) -> None:
        for i in range(packets):
            await context.send_message(i)


class Work(Executor):  # type: ignore[misc]
    """Answers each message."""

    @handler  # type: ignore[untyped-decorator]
    async def work(self, i: int, context: WorkflowContext[Never, int]) -> None:
        await context.yield_output(i)


def step_async(side: Side) -> Timed:
    node = Node(id="node")
    builder = WorkflowBuilder(start_executor=node, max_iterations=STEPS + 10).add_edge(node, node)
    return timed(builder.build(), 0, outputs=1, ops=STEPS)


def fan_async(side: Side) -> Timed:
    split, work = Split(id="split"), Work(id="work")
    workflow = WorkflowBuilder(start_executor=split).add_edge(split, work).build()
    return timed(workflow, FAN, outputs=FAN, ops=FAN)


def timed(workflow: Workflow, given: int, outputs: int, ops: int) -> Timed:
    async def run() -> None:
        assert len((await workflow.run(given)).get_outputs()) == outputs

    return Timed(run, ops)
