"""pydantic-graph: steps, a decision, a map and a join. It keeps no state between runs."""

from typing import Any

from pydantic_graph import GraphBuilder, StepContext, reduce_list_append  # type: ignore[import-not-found]
from scripts.benchmarks.case import Side, Timed
from scripts.benchmarks.cases_graph import FAN, STEPS


def step_async(side: Side) -> Timed:
    builder = GraphBuilder(input_type=int, output_type=int)

    @builder.step  # type: ignore[untyped-decorator]
    async def node(ctx: StepContext[None, None, int]) -> int:
        return ctx.inputs + 1  # type: ignore[no-any-return]

    enough = builder.match(int, matches=lambda x: x >= STEPS)
    decision = builder.decision().branch(enough.to(builder.end_node)).branch(builder.match(int).to(node))
    builder.add(builder.edge_from(builder.start_node).to(node), builder.edge_from(node).to(decision))
    return timed(builder.build(), STEPS, inputs=0)


def fan_async(side: Side) -> Timed:
    builder = GraphBuilder(output_type=list[int])

    @builder.step  # type: ignore[untyped-decorator]
    async def packets(ctx: StepContext[None, None, None]) -> list[int]:
        return list(range(FAN))

    @builder.step  # type: ignore[untyped-decorator]
    async def work(ctx: StepContext[None, None, int]) -> int:
        return ctx.inputs  # type: ignore[no-any-return]

    gather = builder.join(reduce_list_append, initial_factory=list[int])
    builder.add(
        builder.edge_from(builder.start_node).to(packets),
        builder.edge_from(packets).map().to(work),
        builder.edge_from(work).to(gather),
        builder.edge_from(gather).to(builder.end_node),
    )
    return timed(builder.build(), FAN)


def timed(graph: Any, ops: int, **given: int) -> Timed:
    async def run() -> None:
        await graph.run(**given)

    return Timed(run, ops)
