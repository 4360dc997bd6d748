"""Where code runs: in place, in threads, in processes that are killed when they are given up, in any executor."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from tests.runtime import elsewhere
from tests.runtime.elsewhere import Order, OutOfStock
from tests.runtime.programs import LONG, State, chain, within
from twinstep.cache.memory import InMemoryCache
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.errors import (
    EncodingError,
    GraphValidationError,
    NodeTimeoutError,
    OutsideRunError,
    WorkerLostError,
)
from twinstep.func import entrypoint, task
from twinstep.graph import START, StateGraph
from twinstep.pregel.processes import KEPT, POOL
from twinstep.serde import register_type
from twinstep.types import CachePolicy, RetryPolicy, TimeoutPolicy

register_type(Order)


def flow_of(function: Any, *, saver: Any = None, context_schema: Any = None, **options: Any) -> Any:
    """Return an entrypoint that calls a function as a task, in another process unless options say otherwise."""
    work = task(**{"executor": "process", **options})(function)

    @entrypoint(checkpointer=saver, context_schema=context_schema, cache=InMemoryCache())
    async def flow(arg: Any) -> Any:
        return await work(arg)

    return flow


# ---------------------------------------------------------------------- processes


def test_a_task_runs_in_another_process_with_values_of_the_programs_types(lane):
    assert lane.invoke(flow_of(elsewhere.double), Order("tea", 2)) == Order("tea", 4)
    assert lane.invoke(flow_of(elsewhere.later), Order("tea", 2)) == Order("tea", 3)
    assert lane.invoke(flow_of(elsewhere.process_id), 1) != os.getpid()


def test_a_node_runs_in_another_process(lane, saver, thread):
    graph = chain("a").add_node("where", elsewhere.where, executor="process").add_edge("a", "where").compile(saver)
    result = lane.invoke(graph, {"x": 1}, thread)
    assert result["log"] == ["a", "where"]
    assert result["x"] != os.getpid()


def test_synchronous_code_waits_for_several_processes_at_once():
    work = task(executor="process")(elsewhere.process_id)

    @entrypoint()
    def flow(n: int) -> list[int]:
        return [future.result() for future in [work(i) for i in range(n)]]

    assert len(set(flow.invoke(2))) == 2
    assert len(POOL._idle) <= KEPT


def test_errors_come_back_as_they_are(lane):
    with pytest.raises(OutOfStock) as caught:
        lane.invoke(flow_of(elsewhere.fail), "tea")
    assert caught.value.args == ("tea", 3)
    assert any(note.startswith("During task with name 'fail'") for note in caught.value.__notes__)


def test_a_process_that_dies_is_an_error(lane):
    with pytest.raises(WorkerLostError, match="exit code -9") as caught:
        lane.invoke(flow_of(elsewhere.die), "tea")
    assert caught.value.exitcode == -9
    with pytest.raises(WorkerLostError, match="exit code 3"):
        lane.invoke(flow_of(elsewhere.leave), 3)


def process_in(path: Path) -> int:
    deadline = time.monotonic() + LONG
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline, "the process does not begin"
        time.sleep(0.005)
    return int(path.read_text())


def assert_dies(pid: int) -> None:
    deadline = time.monotonic() + LONG
    with suppress(ProcessLookupError):
        while True:
            os.kill(pid, 0)
            assert time.monotonic() < deadline, "the process lives on"
            time.sleep(0.005)


def test_a_timeout_kills_the_process(lane, tmp_path):
    path = tmp_path / "pid"
    lane.invoke(flow_of(elsewhere.process_id), 1)  # so that a process waits
    timeout = TimeoutPolicy(run_timeout=10, idle_timeout=0.4)
    with pytest.raises(NodeTimeoutError, match="its idle timeout"):
        within(LONG, lambda: lane.invoke(flow_of(elsewhere.hang, timeout=timeout), str(path)))
    assert_dies(process_in(path))
    assert path.read_text() != "survived"


def test_cancelling_the_caller_kills_the_process_and_the_run_can_be_continued(tmp_path, thread):
    path, saver = tmp_path / "pid", InMemorySaver()
    graph = StateGraph(State)
    graph.add_node("hang", hang_node, executor="process").add_edge(START, "hang")
    app = graph.compile(saver)

    async def main() -> None:
        caller = asyncio.create_task(app.ainvoke({"x": 1, "log": [str(path)]}, thread))
        pid = await asyncio.to_thread(process_in, path)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await asyncio.to_thread(assert_dies, pid)

    asyncio.run(main())
    assert app.get_state(thread).next == ("hang",)


def hang_node(state: State) -> None:
    elsewhere.hang(state["log"][0])


def test_a_failing_sibling_kills_the_process(lane, tmp_path):
    path = tmp_path / "pid"

    async def fail(state: State) -> State:
        await asyncio.to_thread(process_in, path)
        raise OutOfStock

    graph = StateGraph(State)
    graph.add_node("hang", hang_node, executor="process").add_node("fail", fail)
    graph.add_edge(START, "hang").add_edge(START, "fail")
    with pytest.raises(OutOfStock):
        within(LONG, lambda: lane.invoke(graph.compile(), {"x": 1, "log": [str(path)]}))
    assert_dies(process_in(path))


def test_what_the_code_tells_is_seen_at_once(lane, tmp_path):
    path, seen = tmp_path / "go", []

    def take(chunk: Any) -> None:
        seen.append(chunk)
        path.touch()

    lane.consume(take, flow_of(elsewhere.tell), str(path), stream_mode=["custom", "values"])
    assert seen == [("custom", "now"), ("values", "told")]


def test_heartbeats_cross(lane):
    policy = TimeoutPolicy(idle_timeout=2, refresh_on="heartbeat")
    assert lane.invoke(flow_of(elsewhere.breathe, timeout=policy), 3) == "alive"


def test_config_context_and_identity_cross(lane, saver, thread):
    config = {"configurable": {**thread["configurable"], "user": "me", "lock": threading.Lock()}}
    seen = lane.invoke(flow_of(elsewhere.look, saver=saver), 1, config, context={"team": "blue"})
    assert (seen["user"], seen["node"], seen["context"]) == ("me", "look", {"team": "blue"})
    assert "lock" not in seen["keys"]
    assert len(seen["key"]) == 36


@pytest.mark.parametrize(
    ("function", "error", "says"),
    [
        (elsewhere.ask, OutsideRunError, r"interrupt\(\) cannot be reached from 'ask', which runs in another process"),
        (elsewhere.remember, OutsideRunError, "cannot be reached from 'remember'"),
        (elsewhere.call, OutsideRunError, "Task 'inner' cannot be called from 'call'"),
        (elsewhere.unstorable, EncodingError, "the result"),
    ],
)
def test_what_cannot_cross_is_said(lane, saver, thread, function, error, says):
    with pytest.raises(error, match=says):
        lane.invoke(flow_of(function, saver=saver), 1, thread)


def test_an_argument_that_cannot_cross_is_said(lane):
    with pytest.raises(EncodingError, match="the arguments of 'double'"):
        lane.invoke(flow_of(elsewhere.double), threading.Lock())


def test_retries_records_and_caches_work_as_anywhere(lane, saver, thread, tmp_path):
    retry = RetryPolicy(initial_interval=0.001)
    assert lane.invoke(flow_of(elsewhere.shaky, retry_policy=retry), str(tmp_path / "marker")) == "second time"
    flow = flow_of(elsewhere.process_id, saver=saver, cache_policy=CachePolicy())
    first = lane.invoke(flow, 1, thread)
    POOL.close()  # another process would have another id
    assert lane.invoke(flow, 1, thread) == first


def local(state: State) -> State:
    return {}


ANYTHING: Any = task


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: task(executor="process")(lambda n: n), "only a function at the top level of a module"),
        (lambda: ANYTHING(executor="proces")(local), "Did you mean 'process'"),
        (lambda: ANYTHING(executor=5)(local), "executor=5"),
        (lambda: task(executor="process")(with_store), "asks for store, which cannot cross"),
        (lambda: StateGraph(State).add_node("g", chain("a").compile(), executor="thread"), "is a graph"),
    ],
)
def test_code_that_cannot_get_there_is_refused_when_it_is_defined(make, says):
    with pytest.raises(GraphValidationError, match=says):
        make()


def with_store(n: int, store: Any) -> None:
    """Ask for what cannot cross."""


# ---------------------------------------------------------------------- threads and other executors

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")


def here(n: int) -> tuple[int, str]:
    return threading.get_ident(), VARIABLE.get()


def test_a_thread_is_another_one_with_the_callers_context(lane):
    VARIABLE.set("set")
    thread_id, variable = lane.invoke(flow_of(here, executor="thread"), 1)
    assert (thread_id != threading.get_ident(), variable) == (True, "set")


def test_inline_code_runs_on_the_event_loop():
    async def main() -> Any:
        return await flow_of(here, executor="inline").ainvoke(1), await flow_of(here, executor=None).ainvoke(1)

    inline, default = asyncio.run(main())
    assert inline[0] == threading.get_ident() != default[0]


def test_a_thread_pool_gets_the_code_as_it_is(lane):
    with ThreadPoolExecutor(1, thread_name_prefix="mine") as pool:
        name = lane.invoke(flow_of(lambda n: threading.current_thread().name, executor=pool), 1)
    assert name.startswith("mine")


def test_nested_tasks_and_questions_work_in_a_thread(lane, saver, thread):
    work = task(lambda n: n + 1, name="work")

    def outer(n: int) -> int:
        return work(n).result()

    assert lane.invoke(flow_of(outer, executor="thread", saver=saver), 1, thread) == 2


@pytest.fixture(scope="module")
def pool() -> Any:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield pool


def test_any_executor_gets_the_task_as_data(lane, pool: Executor, tmp_path):
    (tmp_path / "go").touch()
    assert lane.invoke(flow_of(elsewhere.double, executor=pool), Order("tea", 2)) == Order("tea", 4)
    with pytest.raises(OutOfStock):
        lane.invoke(flow_of(elsewhere.fail, executor=pool), "tea")
    chunks = lane.stream(flow_of(elsewhere.tell, executor=pool), str(tmp_path / "go"), stream_mode=["custom", "values"])
    assert chunks == [("custom", "now"), ("values", "told")]


# ---------------------------------------------------------------------- programs

SCRIPT = """
import os, sys
from dataclasses import dataclass
from twinstep import entrypoint, task
from twinstep.errors import OutsideRunError

print("loaded", flush=True)

@dataclass
class Order:
    count: int

@task(executor="process")
def double(order: Order) -> Order:
    print("working", flush=True)
    return Order(2 * order.count)

@entrypoint()
def flow(n: int) -> Order:
    return double(Order(n)).result()

"""


def run_script(path: Path, text: str) -> subprocess.CompletedProcess[str]:
    path.write_text(text)
    return subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=60)


def test_a_function_of_the_script_runs_with_the_types_of_the_script(tmp_path):
    done = run_script(tmp_path / "script.py", SCRIPT + 'if __name__ == "__main__":\n    print(flow.invoke(2))\n')
    assert (done.stderr, done.stdout.split("\n")[:4]) == ("", ["loaded", "loaded", "working", "Order(count=4)"])


@pytest.mark.slow
def test_a_script_that_starts_while_it_is_loaded_is_refused(tmp_path):
    done = run_script(tmp_path / "script.py", SCRIPT + "print(flow.invoke(2))\n")
    assert done.returncode == 1
    assert "OutsideRunError: The script starts a graph while a worker process loads it" in done.stderr


@pytest.mark.slow
def test_a_function_of_a_module_does_not_load_the_script_again(tmp_path):
    (tmp_path / "numbers_of_mine.py").write_text("def double(n: int) -> int:\n    return 2 * n\n")
    script = """
from numbers_of_mine import double
from twinstep import entrypoint, task

print("loaded", flush=True)
double = task(executor="process")(double)
print(entrypoint()(lambda n: double(n).result()).invoke(2))
"""
    done = run_script(tmp_path / "script.py", script)
    assert (done.stderr, done.stdout) == ("", "loaded\n4\n")


def test_no_process_outlives_a_killed_program(tmp_path):
    path, script = tmp_path / "pid", tmp_path / "script.py"
    script.write_text(f"""
from tests.runtime.elsewhere import hang
from twinstep import entrypoint, task

entrypoint()(lambda path: task(executor="process")(hang)(path).result()).invoke({str(path)!r})
""")
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    program = subprocess.Popen([sys.executable, script], env=environment)
    pid = process_in(path)
    program.kill()
    program.wait()
    assert_dies(pid)


def test_a_worker_that_died_in_its_sleep_is_replaced(lane):
    first = lane.invoke(flow_of(elsewhere.process_id), 1)
    os.kill(first, signal.SIGKILL)
    assert_dies_or_is_dead(first)
    assert lane.invoke(flow_of(elsewhere.process_id), 1) != first


def assert_dies_or_is_dead(pid: int) -> None:
    """Wait until a process of the pool has ended; what is left of it is the pool's to clear away."""
    deadline = time.monotonic() + LONG
    while any(worker.pid == pid and worker.is_alive() for worker in POOL._workers):
        assert time.monotonic() < deadline, "the process lives on"
        time.sleep(0.005)
