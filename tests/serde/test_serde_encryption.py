"""Encrypted values: what a saver stores can be read with the key, in its place, and not otherwise."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest

from twinstep.checkpoint.memory import InMemorySaver
from twinstep.checkpoint.rows import Edit
from twinstep.checkpoint.serde.encrypted import AesCipher, EncryptedSerializer
from twinstep.checkpoint.sqlite import SqliteSaver
from twinstep.errors import CheckpointCorruptError, EncodingError, InvalidConfigError
from twinstep.func import entrypoint, task
from twinstep.serde import JsonPlusSerializer, Serializer
from twinstep.testing.conformance.writer import put, thread
from twinstep.testing.conformance.writer import values as channel_values
from twinstep.types import Command, interrupt

OLD, NEW = b"0123456789abcdef", b"fedcba9876543210fedcba9876543210"
aes = EncryptedSerializer.from_aes


def test_values_come_back_exactly() -> None:
    value = {"x": (1, {2}, b"3", [None]), 5: 2**100}
    found = aes(key=NEW).loads(aes(key=NEW).dumps(value))
    assert (found, type(found["x"])) == (value, tuple)


def test_nothing_of_a_value_can_be_seen_and_nothing_repeats() -> None:
    serde = aes(key=OLD)
    first, second = serde.dumps("secret"), serde.dumps("secret")
    assert b"secret" not in first
    assert first != second
    assert serde.plain.dumps("secret") == serde.plain.dumps("secret"), "what the engine compares"


@pytest.mark.parametrize("size", [16, 24, 32])
def test_keys_of_all_sizes_as_bytes_and_text(size: int) -> None:
    key = "k" * size
    assert aes(key=key).loads(aes(key=key.encode()).dumps(1)) == 1


@pytest.mark.parametrize("key", [b"", b"short", "é" * 16 + "x", b"x" * 33])
def test_keys_of_other_sizes_are_refused(key: Any) -> None:
    with pytest.raises(InvalidConfigError, match="16, 24 or 32 bytes"):
        aes(key=key)


def test_key_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TWINSTEP_AES_KEY", raising=False)
    with pytest.raises(InvalidConfigError, match="TWINSTEP_AES_KEY"):
        aes()
    data = aes(key=OLD).dumps(1)
    monkeypatch.setenv("TWINSTEP_AES_KEY", f"{NEW.decode()},{OLD.decode()}")
    assert aes().loads(data) == 1
    assert aes(key=NEW).loads(aes().dumps(2)) == 2, "the first encrypts"


def test_rotated_keys() -> None:
    before, after = aes(key=OLD).dumps("before"), aes(key=NEW, old_keys=[OLD])
    assert after.loads(before) == "before"
    with pytest.raises(CheckpointCorruptError, match="does not have"):
        aes(key=OLD).loads(after.dumps("after"))


def test_every_flipped_bit_and_every_cut_is_found() -> None:
    serde = aes(key=OLD)
    data = serde.dumps("secret")
    for i in range(len(data) * 8):
        changed = bytearray(data)
        changed[i // 8] ^= 1 << i % 8
        with pytest.raises(CheckpointCorruptError):
            serde.loads(bytes(changed))
    for i in range(len(data)):
        with pytest.raises(CheckpointCorruptError):
            serde.loads(data[:i])


def test_plain_values_are_refused_unless_they_are_allowed() -> None:
    plain = Serializer().dumps([1])
    with pytest.raises(CheckpointCorruptError, match="allow_plain=True"):
        aes(key=OLD).loads(plain)
    assert aes(key=OLD, allow_plain=True).loads(plain) == [1]


def test_program_without_a_key_is_told_what_it_needs() -> None:
    with pytest.raises(CheckpointCorruptError, match=r"EncryptedSerializer\.from_aes"):
        Serializer().loads(aes(key=OLD).dumps([1]))


def test_errors_name_what_cannot_be_stored() -> None:
    with pytest.raises(EncodingError, match=r"state\['x'\]"):
        aes(key=OLD).dumps({"x": object()}, at="state")


def test_tagged_form_and_names_of_those_who_move_here() -> None:
    serde = EncryptedSerializer.from_pycryptodome_aes(JsonPlusSerializer(), key=OLD)
    tag, data = serde.dumps_typed([1])
    assert tag.startswith("msgpack+aes-gcm:")
    assert serde.loads_typed((tag, data)) == [1]


class Shift:
    """A cipher of the user's own, with the error of its own that a wrong key raises."""

    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        return "shift", bytes((byte + 1) % 256 for byte in plaintext)

    def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
        if ciphername != "shift":
            raise KeyError(ciphername)
        return bytes((byte - 1) % 256 for byte in ciphertext)


def test_any_cipher_will_do_and_binds_values_to_their_place() -> None:
    serde = EncryptedSerializer(Shift())
    data = serde.dumps([1], place=b"here")
    assert serde.loads(data, place=b"here") == [1]
    with pytest.raises(CheckpointCorruptError, match="another place"):
        serde.loads(data, place=b"there")
    with pytest.raises(CheckpointCorruptError, match="KeyError"):
        serde.loads(AesCipherData, place=b"here")
    with pytest.raises(InvalidConfigError):
        EncryptedSerializer(object())  # type: ignore[arg-type]


AesCipherData = EncryptedSerializer(AesCipher([OLD])).dumps([1])


# ---------------------------------------------------------------------- in a saver


def test_a_program_runs_and_resumes_and_its_file_shows_nothing(tmp_path: Path, lane: Any, thread: Any) -> None:
    path = tmp_path / "threads.sqlite"

    @task
    def work(secret: str) -> str:
        return f"{secret} worked"

    with SqliteSaver(path, serde=aes(key=OLD)) as saver:

        @entrypoint(checkpointer=saver)
        def flow(secret: str, previous: Any = None) -> list[Any]:
            return [*(previous or []), work(secret).result(), interrupt("whisper?")]

        thread["metadata"] = {"note": "hush"}
        for turn in range(3):
            lane.invoke(flow, "whisper", thread)
            result = lane.invoke(flow, Command(resume=f"whisper {turn}"), thread)
        assert result == ["whisper worked", "whisper 0", "whisper worked", "whisper 1", "whisper worked", "whisper 2"]
        assert lane.state(flow, thread).metadata["note"] == "hush"
        stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
        assert b"whisper" not in stored
        assert b"hush" not in stored


def test_growing_lists_are_still_stored_as_changes(thread: Any) -> None:
    saver = InMemorySaver(serde=aes(key=OLD))

    @entrypoint(checkpointer=saver)
    def flow(text: str, previous: Any = None) -> list[str]:
        return [*(previous or []), text]

    for _ in range(20):
        flow.invoke("x" * 1000, thread)
    assert len(saver.load("1", "").rows[-1].blob) < 5000


def test_wrong_key_is_an_error_that_names_the_place() -> None:
    saver = InMemorySaver(serde=aes(key=OLD))
    put(saver, thread(), x=1)
    for serde in (aes(key=NEW), Serializer()):
        saver.serde = serde
        with pytest.raises(CheckpointCorruptError) as caught:
            saver.get(thread())
        assert "thread '1', namespace ''" in "".join(caught.value.__notes__)


def test_row_with_a_mended_checksum_is_refused_elsewhere() -> None:
    """Who can write to the database can make the checksum fit; the cipher still knows where the value belongs."""
    saver = InMemorySaver(serde=aes(key=OLD))
    put(saver, thread("1"), x="pay 1")
    put(saver, thread("2"), x="pay 2")
    other, mine = saver.load("2", ""), saver.load("1", "")
    body = other.rows[0].blob[17:]
    where = repr(("1", "", mine.rows[0].id, None, mine.rows[0].id)).encode()
    forged = mine.rows[0]._replace(blob=b"\1" + blake2b(where + body, digest_size=16).digest() + body)
    saver.edit("1", mine.epoch, [Edit("", forged.id, mine.head, (forged,))])
    with pytest.raises(CheckpointCorruptError, match="another place"):
        saver.get(thread("1"))


def test_copies_and_pruned_threads_are_encrypted_anew() -> None:
    saver = InMemorySaver(serde=aes(key=OLD))
    put(saver, thread("1"), x=1)
    put(saver, thread("1"), x=2)
    saver.copy_thread("1", "2")
    saver.prune(["1"])
    assert channel_values(saver) == {"x": 2}
    assert [each.checkpoint["channel_values"] for each in saver.list(thread("2"))] == [{"x": 2}, {"x": 1}]
