"""The command line of the desk: decides how a run starts or goes on, shows it live, and asks for the verdict."""

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import Any
from zlib import crc32

from editorial_desk.model import ModelError, model_from_environment
from editorial_desk.texts import Analysis
from editorial_desk.workflow import APPROVE, REJECT, Bench, Order, Outcome, Skipped, edit
from twinstep.checkpoint.sqlite import SqliteSaver
from twinstep.errors import TwinstepError
from twinstep.func import entrypoint
from twinstep.types import Command, StateSnapshot

DONE, FAILED, BAD_INPUT, WAITING, STOPPED = 0, 1, 2, 3, 130
WORKERS = 4  # analyses in flight: what a killed process may have to do again
ROOT = Path(__file__).resolve().parents[2]
EXITS = "exit status: 0 done, 1 failed (the same command goes on), 2 bad input, 3 waiting for a verdict, 130 stopped"


class BadInput(Exception):
    """Something the caller has to change."""


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="scripts/run", description=__doc__, epilog=EXITS)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "docs", help="texts (the project's docs)")
    parser.add_argument("--out", type=Path, default=Path("desk/report.md"), help="the report (%(default)s)")
    parser.add_argument("--db", type=Path, default=Path("desk/desk.sqlite"), help="where runs are kept (%(default)s)")
    parser.add_argument("--thread", help="name of the run (made from the folder)")
    parser.add_argument("--log", type=Path, help="file that gets a line for every piece of work really done")
    answer = parser.add_mutually_exclusive_group()
    answer.add_argument("--verdict", type=str.strip, help=f"the answer: {APPROVE}, {REJECT}, or what to change")
    answer.add_argument("--yes", action="store_true", help=f"answer '{APPROVE}' to every question")
    parser.add_argument("--fresh", action="store_true", help="forget what was done and start over")
    args = parser.parse_args(argv)
    args.folder = args.folder.resolve()
    args.thread = args.thread or f"{args.folder.name}-{crc32(os.fsencode(args.folder)):08x}"
    return args


def main(argv: list[str] | None = None) -> int:
    """Run the desk and return its exit status."""
    try:
        return serve(parse(argv))
    except BadInput as error:
        print(f"desk: {error}", file=sys.stderr)
        return BAD_INPUT
    except (ModelError, TwinstepError, OSError) as error:
        print(f"desk: {error}\nNothing finished is lost: the same command goes on from it.", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("\ndesk: stopped; the same command goes on from here.", file=sys.stderr)
        return STOPPED


def serve(args: argparse.Namespace) -> int:
    """Start or continue the run of a folder, as far as it goes without a verdict."""
    check(args)
    args.db.parent.mkdir(parents=True, exist_ok=True)
    with SqliteSaver.from_conn_string(str(args.db)) as saver:
        if args.fresh:
            saver.delete_thread(args.thread)
        desk = entrypoint(checkpointer=saver, context_schema=Bench)(edit)
        config: Any = {"configurable": {"thread_id": args.thread}, "max_concurrency": WORKERS}
        bench = Bench(args.out.resolve(), args.log)
        snapshot = desk.get_state(config)
        verdicts = iter([args.verdict] if snapshot.interrupts and args.verdict else [])
        if not snapshot.interrupts:
            follow(desk, opening(snapshot, args), config, bench)
        while (snapshot := desk.get_state(config)).interrupts:
            verdict = next(verdicts, APPROVE if args.yes else None)
            if verdict is None:
                return ask(snapshot.interrupts[0].value, args)
            print(f"verdict: {verdict}", flush=True)
            follow(desk, Command(resume=verdict), config, bench)
        return close(snapshot.values)


def check(args: argparse.Namespace) -> None:
    """Refuse what cannot work before anything is stored."""
    if not args.folder.is_dir():
        raise BadInput(f"there is no folder {args.folder}.")
    if not str(args.folder).isprintable():
        raise BadInput("the name of the folder holds characters that cannot be stored.")
    if args.out.is_dir() or args.db.is_dir():
        raise BadInput("--out and --db name files, not folders.")
    if args.verdict == "":
        raise BadInput(f"the verdict is empty; say {APPROVE}, {REJECT}, or what to change.")


def opening(snapshot: StateSnapshot, args: argparse.Namespace) -> Order | None:
    """Return the order of a new run, or None to continue one that was cut off."""
    if snapshot.next:
        unused = " It has not asked yet, so the verdict is not used." if args.verdict else ""
        print(f"Going on with the unfinished run '{args.thread}'.{unused}", flush=True)
        return None
    if args.verdict:
        raise BadInput(f"nothing waits for a verdict in the run '{args.thread}'; start it without --verdict.")
    if isinstance(snapshot.values, Outcome):
        print(f"This folder was finished before ({snapshot.values.verdict}); this is a new run.", flush=True)
    print(f"Reading {args.folder}", flush=True)
    own = [args.out.resolve(), *(Path(f"{args.db.resolve()}{tail}") for tail in ("", "-wal", "-shm", "-journal"))]
    return Order(str(args.folder), model_from_environment(), [str(path) for path in own])


def follow(desk: Any, step: Any, config: Any, bench: Bench) -> None:
    """Run until the end or the next question, and show what happens as it happens."""
    modes = ["custom", "updates"]
    for _, mode, chunk in desk.stream(step, config, context=bench, stream_mode=modes, subgraphs=True):
        if mode == "custom":  # tokens of the model
            print(chunk, end="", flush=True)
        else:
            print("".join(map(progress, chunk.values())), end="", flush=True)


def progress(update: Any) -> str:
    """Say what a finished task or node brought."""
    match update:
        case Analysis(file=file, words=words, grade=grade):
            return f"  read {file}: {words} words, grade {grade}\n"
        case Skipped(file=file, reason=reason):
            return f"  skipped {file}: {reason}\n"
        case {"rounds": [this]}:
            return f"  {this.step}: {this.words} words, score {this.score:.3f}\n"
    return ""


def ask(question: dict[str, Any], args: argparse.Namespace) -> int:
    """Show the brief and how to answer."""
    script = ROOT / "scripts/run"
    again = [os.path.relpath(script)] if Path(sys.prefix) == ROOT / ".venv" else [sys.executable, sys.argv[0]]
    again += [str(args.folder), "--out", str(args.out), "--db", str(args.db), "--thread", args.thread]
    print(f"\n{question['brief']}\n\n{question['question']} (score {question['score']:.3f}) Answer with")
    print(f"  {shlex.join(again)} --verdict {APPROVE}")
    print(f"or with --verdict {REJECT}, or with what to change, as in --verdict 'shorter, more on speed'", flush=True)
    return WAITING


def close(outcome: Outcome) -> int:
    """Say how the run ended."""
    if outcome.report is None:
        raise BadInput("the folder holds no text that can be read.")
    print(f"Done: {outcome.verdict}, score {outcome.score:.3f}. The report is {outcome.report}", flush=True)
    return DONE
