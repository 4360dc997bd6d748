"""Values stored by the first version are read for ever.

`golden/values-v1.txt` holds one line a value: its name in `samples.py` and its bytes. Lines are added (by
`python -m tests.serde.test_serde_golden` with PYTHONPATH=src:.), never changed.
"""

from pathlib import Path

import pytest

from tests.serde.samples import SAMPLES, same
from twinstep.serde import Serializer
from twinstep.serde.kinds import KINDS

GOLDEN = Path(__file__).parent / "golden" / "values-v1.txt"
serde = Serializer()


def stored() -> dict[str, bytes]:
    lines = (line.rpartition(" = ") for line in GOLDEN.read_text().splitlines())
    return {name: bytes.fromhex(data) for name, _, data in lines}


@pytest.mark.parametrize(("name", "data"), stored().items(), ids=list(stored()))
def test_stored_value_is_read_for_ever(name: str, data: bytes) -> None:
    assert same(serde.loads(data), SAMPLES[name])


def test_every_kind_has_been_stored() -> None:
    everything = b"".join(stored().values())
    missing = [kind.name for code, kind in KINDS.items() if b"\xd4\x54" + code not in everything]
    assert [each for each in missing if not each.startswith("numpy.")] == []


if __name__ == "__main__":
    known = stored() if GOLDEN.exists() else {}
    with GOLDEN.open("a") as file:
        file.writelines(
            f"{name} = {serde.dumps(value).hex()}\n" for name, value in SAMPLES.items() if name not in known
        )
