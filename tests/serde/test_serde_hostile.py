"""Bytes are data: no bytes import, construct or call anything, and broken ones are a typed error."""

import random
import re
import subprocess
import sys
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import pytest

from tests.serde.samples import SAMPLES
from twinstep.errors import CheckpointCorruptError, RecordedError, UnknownTypeError
from twinstep.serde import Serializer, register_type
from twinstep.serde.kinds import KINDS, MARK

serde = Serializer()

# Runs in a process of its own, because an audit hook stays for good. Reads every sample, whole and damaged.
FUZZ = r"""
import random, sys
import numpy  # what arrays need: a byte that makes a value one loads it, and nothing else does
from zoneinfo import ZoneInfo
from tests.serde.samples import SAMPLES
from twinstep.errors import CheckpointCorruptError, UnknownTypeError
from twinstep.serde import Serializer

serde, rng = Serializer(), random.Random(int(sys.argv[1]))
stored = [serde.dumps(value) for value in SAMPLES.values()]
for data in stored:
    serde.loads(data)
try:  # what looking for a time zone needs, whatever its name, is loaded now
    serde.loads(serde.dumps(ZoneInfo("Europe/Berlin")).replace(b"Berlin", b"Nowhere"[:6]))
except UnknownTypeError:
    pass

seen = []
def hook(event, args):
    if event == "open" and ("zoneinfo" in str(args[0]) or "tzdata" in str(args[0])):
        return
    if event in ("import", "exec", "open", "compile", "marshal.loads", "pickle.find_class") or event.startswith(
        ("subprocess", "os.", "socket", "ctypes", "shutil")
    ):
        if active:
            seen.append((event, str(args)[:200]))

def damaged(data):
    data = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(4):
            case 0 if at < len(data): data[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(data): data[at] = rng.choice((0x54, 0xD4, 0x80, 0x90, 0xC4, 0xDD, 0xDF, 0x00))
            case 2: data[at:at] = rng.choice(stored)[: rng.randrange(40)]
            case 3: del data[at : at + rng.randrange(8)]
    return bytes(data)

active = True
sys.addaudithook(hook)
outcomes = {}
for _ in range(int(sys.argv[2])):
    data = damaged(rng.choice(stored))
    try:
        serde.loads(data)
        outcome = "value"
    except (CheckpointCorruptError, UnknownTypeError) as error:
        outcome = type(error).__name__
    outcomes[outcome] = outcomes.get(outcome, 0) + 1
active = False
assert len(outcomes) == 3, outcomes
assert not seen, seen[:5]
print(outcomes)
"""


@pytest.mark.parametrize("seed", [1, 2])
def test_damaged_bytes_are_a_value_or_a_typed_error_and_touch_nothing(seed: int) -> None:
    done = subprocess.run([sys.executable, "-c", FUZZ, str(seed), "4000"], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr[-2000:]


def packed(*parts: Any, **keywords: Any) -> bytes:
    return msgpack.packb(parts[0] if len(parts) == 1 else list(parts), **keywords)


def mark(name: str) -> msgpack.ExtType:
    return next(kind.mark for kind in KINDS.values() if kind.name == name)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x01\x02",
        b"\xa1\xff",
        b"\x91",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff\x01",
        b"\xc6\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x54",
        b"\x91" * 5000 + b"\xc0",
        b"\x93\xd4\x54\x01" * 5000 + b"\xc0",
        b"\x81\x90\xc0",
        b"\xd4\xff\x00",
        packed(mark("tuple")),
        packed({"a": mark("tuple")}),
        packed([1, mark("tuple")]),
        packed([mark("tuple"), mark("set")]),
        packed([mark("set"), [1]]),
        packed([msgpack.ExtType(MARK, b"\xee"), 1]),
        packed([msgpack.ExtType(MARK, b""), 1]),
        packed(msgpack.ExtType(MARK, b"ab" * 20)),
        packed([mark("Decimal"), "x"]),
        packed([mark("Decimal"), 1]),
        packed([mark("datetime"), "2026-13-01"]),
        packed([mark("timedelta"), 10**18, 0, 0]),
        packed([mark("UUID"), b"short"]),
        packed([mark("Pattern"), "(", 0]),
        packed([mark("Pattern"), "a", int(re.DEBUG)]),
        packed([mark("ZoneInfo"), "../../etc/passwd"]),
        packed([mark("ZoneInfo"), "/etc/passwd"]),
        packed([mark("PurePosixPath"), "os", "x"]),
        packed([mark("IPv4Address"), "Path", "x"]),
        packed([mark("Fraction"), 1, 0]),
        packed([mark("array"), "d", b"123"]),
        packed([mark("numpy.ndarray"), "|O", [1], b"12345678", "C"]),
        packed([mark("numpy.ndarray"), "O", [1], b"12345678", "C"]),
        packed([mark("numpy.ndarray"), "<f8", [10**12], b"", "C"]),
        packed([mark("numpy.ndarray"), "<f8", [-1], b"12345678", "C"]),
        packed([mark("object"), ["x"], {}]),
        packed([mark("object")]),
        packed([mark("object"), "golden:Point", 5]),
        packed([mark("object"), "golden:Bag", {}, "ab"]),
        packed([mark("object"), "golden:Colour", ["RED"]]),
        packed([mark("object"), "golden:Colour", 2.5]),
        packed([mark("object"), "golden:Right", 1 << 40]),
        packed([mark("object"), "golden:Dog", {}, None, [], None]),
        packed([mark("object"), "builtins:ValueError", {}]),
        packed([mark("exception"), "builtins:ValueError", 1, []]),
        packed([mark("exception"), "builtins:ValueError", "x", "args"]),
    ],
)
def test_bytes_that_nobody_wrote_are_corrupt(data: bytes) -> None:
    with pytest.raises(CheckpointCorruptError):
        serde.loads(data)


def test_only_bytes_are_read() -> None:
    assert serde.loads(memoryview(serde.dumps((1,)))) == (1,)  # type: ignore[arg-type]
    for odd in ("text", None, 5):
        with pytest.raises(CheckpointCorruptError):
            serde.loads(odd)  # type: ignore[arg-type]
    with pytest.raises(CheckpointCorruptError, match="'json'"):
        serde.loads_typed(("json", b"{}"))


@pytest.mark.parametrize("name", ["os:system", "builtins:eval", "subprocess:Popen", "os.system", "builtins:dict"])
def test_names_in_bytes_find_nothing_that_was_not_registered(name: str) -> None:
    with pytest.raises(UnknownTypeError, match=re.escape(name)):
        serde.loads(packed([mark("object"), name, {"args": ["true"]}]))
    with pytest.raises(UnknownTypeError):
        serde.loads(packed([mark("defaultdict"), name, {}]))
    assert type(serde.loads(packed([mark("exception"), name, "text", ["a"]]))) is RecordedError


def test_class_that_is_no_exception_is_not_raised_as_one() -> None:
    assert type(serde.loads(packed([mark("exception"), "golden:Point", "text", []]))) is RecordedError


def test_methods_of_registered_classes_are_not_called_by_forged_parts() -> None:
    calls: list[str] = []

    @register_type(name="test:trap")
    @dataclass
    class Trap:
        a: int = 0

        def __getattribute__(self, name: str) -> Any:
            if not name.startswith("__"):
                calls.append(name)
            return object.__getattribute__(self, name)

    special: tuple[str, ...] = (
        "index",
        "int",
        "float",
        "complex",
        "str",
        "bytes",
        "fspath",
        "iter",
        "len",
        "getitem",
        "next",
        "eq",
    )
    special += ("repr", "format", "buffer", "bool", "call", "add", "lt", "reduce", "setattr", "del", "missing", "trunc")
    for name in special:
        setattr(Trap, f"__{name}__", lambda *_, name=name: calls.append(name))
    trap = [mark("object"), "test:trap", {"a": 1}]
    others = [
        "2026-01-01",
        b"12345678",
        1,
        [],
        {},
        *(f"golden:{name}" for name in ("Dog", "Bag", "Ring", "Right", "Id")),
    ]
    for kind in list(KINDS.values()):
        for count in range(1, 7):
            for at in range(count):
                for other in others:
                    parts = [other] * count
                    parts[at] = trap
                    try:
                        serde.loads(packed([kind.mark, *parts]))
                    except (CheckpointCorruptError, UnknownTypeError):
                        continue
    for error in ("OSError", "UnicodeDecodeError", "SyntaxError", "ExceptionGroup", "ImportError", "StopIteration"):
        for args in ([trap], ["x", trap], [2, "x", trap, None, trap], ["utf-8", b"x", trap, trap, "x"], ["x", [trap]]):
            serde.loads(packed([mark("exception"), f"builtins:{error}", "x", args]))
    calls[:] = [each for each in calls if each != "del"]
    assert calls == []


def test_length_that_lies_allocates_little() -> None:
    size = (1 << 16) + 4
    lies = [b"\xdd" + size.to_bytes(4, "big"), b"\xdf" + size.to_bytes(4, "big"), b"\xc9\xff\xff\xff\xff\x54"]
    for lie in lies:
        data = lie + bytes(1 << 16)
        tracemalloc.start()
        with pytest.raises(CheckpointCorruptError):
            serde.loads(data)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 100 * len(data)


def test_every_cut_off_value_is_refused() -> None:
    rng = random.Random(5)
    for name, value in SAMPLES.items():
        data = serde.dumps(value)
        for end in rng.sample(range(len(data)), min(20, len(data))):
            with pytest.raises(CheckpointCorruptError):
                print(name, end, serde.loads(data[:end]))


def test_serde_holds_no_way_to_run_code() -> None:
    source = Path(sys.modules["twinstep.serde"].__file__ or "").parent
    for path in source.glob("*.py"):
        assert not re.search(r"\b(pickle|importlib|__import__|eval|exec|marshal|shelve)\(", path.read_text()), path
