"""Learn what survives a crash: this program kills its own child with SIGKILL and goes on with the child's run.

A task's result is on record before anybody gets it. The second process repeats none of the finished tasks, only the
one that was in the middle: results are recorded exactly once, effects happen at least once. Give a service that can
recognise a repeated request the `idempotency_key`, which is the same at every attempt.

Output:
    the child was killed by SIGKILL
    status: running, next: ('send_all',)
    resumed: 4 letters sent
    status: done
    sent: Ada Ben Eve Eve Tom, with 4 different keys
"""

import signal
import sys
import time
from pathlib import Path
from subprocess import PIPE, Popen
from tempfile import TemporaryDirectory

from twinstep import entrypoint, task
from twinstep.checkpoint.sqlite import SqliteSaver
from twinstep.runtime import get_runtime
from twinstep.types import RunnableConfig

CONFIG: RunnableConfig = {"configurable": {"thread_id": "letters"}}
IS_CHILD = len(sys.argv) > 1


@task
def send(name: str, log: str) -> None:
    """Send a letter; in the child, the one to Eve takes too long."""
    info = get_runtime().execution_info
    with Path(log).open("a") as lines:
        print(name, info.idempotency_key if info else "", file=lines)
    if name == "Eve" and IS_CHILD:
        print("sending", flush=True)
        time.sleep(60)


def send_all(log: str) -> str:
    """Send one letter after the other."""
    return f"{len([send(name, log).result() for name in ('Ada', 'Ben', 'Eve', 'Tom')])} letters sent"


if IS_CHILD:
    with SqliteSaver(sys.argv[1]) as saver:
        entrypoint(checkpointer=saver)(send_all).invoke(sys.argv[1] + ".log", CONFIG)
else:
    with TemporaryDirectory() as folder, SqliteSaver(f"{folder}/runs.sqlite") as saver:
        with Popen([sys.executable, __file__, f"{folder}/runs.sqlite"], stdout=PIPE, text=True) as child:
            assert child.stdout
            child.stdout.readline()
            child.send_signal(signal.SIGKILL)
        print("the child was killed by", signal.Signals(-child.returncode).name)
        letters = entrypoint(checkpointer=saver)(send_all)
        state = letters.get_state(CONFIG)
        print(f"status: {(state.metadata or {})['status']}, next: {state.next}")
        print("resumed:", letters.invoke(None, CONFIG))
        print("status:", (letters.get_state(CONFIG).metadata or {})["status"])
        sent = [line.split() for line in Path(f"{folder}/runs.sqlite.log").read_text().splitlines()]
        print("sent:", *(name for name, _ in sent), end=f", with {len({key for _, key in sent})} different keys\n")
