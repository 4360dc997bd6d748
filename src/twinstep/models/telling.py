"""What the `messages` stream of the calling run is told about a model's answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from twinstep.constants import TAG_NOSTREAM
from twinstep.ids import new_id
from twinstep.messages import AIMessage
from twinstep.scope import Scope, current_scope
from twinstep.stream.events import Message

M = TypeVar("M", bound=AIMessage)


class Teller:
    """Shows the pieces of one answer while they arrive, if anybody listens.

    Args:
        about: metadata of the model, such as `ls_provider`; it is shown with every piece.
        tags: of the model and the call; with `nostream` nothing is shown.
        config: what the call was given; its tags and metadata count too.

    Attributes:
        id: the id of the message whose pieces these are.
        live: whether anybody listens.
    """

    __slots__ = ("_metadata", "_scope", "id", "live")

    def __init__(self, about: Mapping[str, Any], tags: Iterable[str] = (), config: Mapping[str, Any] | None = None):
        self.id: str = new_id()
        self._scope = current_scope()
        self.live: bool = self._scope is not None and self._scope.run.emitter(Message) is not None
        if self._scope is not None and self.live:
            self._look(self._scope, about, tags, config or {})

    def _look(self, scope: Scope, about: Mapping[str, Any], tags: Iterable[str], config: Mapping[str, Any]) -> None:
        all_tags = list(dict.fromkeys((*(scope.config().get("tags") or ()), *(config.get("tags") or ()), *tags)))
        self.live = TAG_NOSTREAM not in all_tags
        self._metadata = {**(config.get("metadata") or {}), **about}
        if all_tags:
            self._metadata["tags"] = all_tags

    def tell(self, piece: M) -> M:
        """Show a piece, or the whole, and return it with the id of the message."""
        piece.id = self.id
        if self.live:
            assert self._scope is not None
            self._scope.message(piece, self._metadata)
        return piece
