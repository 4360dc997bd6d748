"""One projection of a run: items that are pushed as they come, and read as they are wanted."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import count
from typing import Generic, TypeVar

from twinstep.errors import TwinstepError

T = TypeVar("T")

_stamps = count()
"""Numbers all items of all channels, so that several can be read in the order of their coming."""


class StreamChannel(Generic[T]):
    """Items in the order of their coming; every reader sees all that are kept, from the first.

    A reader that has seen all asks the run to go on, until there is another item or the channel ends.

    Args:
        name: a channel with a name also appears among the run's events, as method `custom:name`.
        maxlen: how many items are kept for readers to come; None: all.

    Example:
        >>> from twinstep.stream import StreamChannel
        >>> words = StreamChannel()
        >>> words.push("a")
        >>> words.push("b")
        >>> words.close()
        >>> list(words), list(words)
        (['a', 'b'], ['a', 'b'])
    """

    def __init__(self, name: str | None = None, *, maxlen: int | None = None) -> None:
        self.name = name
        self._items: deque[tuple[int, T]] = deque(maxlen=maxlen)
        self._dropped = 0
        self._closed = False
        self._error: BaseException | None = None
        self._pump: Callable[[], bool] | None = None
        self._apump: Callable[[], Awaitable[bool]] | None = None
        self._told: Callable[[T], None] | None = None

    def bind(self, pump: Callable[[], bool] | None, apump: Callable[[], Awaitable[bool]] | None) -> None:
        """Tell what makes the run go on; both return False when it has ended."""
        self._pump, self._apump = pump, apump

    def forward(self, told: Callable[[T], None]) -> None:
        """Tell who is shown every item."""
        self._told = told

    def push(self, item: T) -> None:
        """Add an item.

        Raises:
            TwinstepError: the channel is closed.
        """
        if self._closed:
            raise TwinstepError(f"The stream channel '{self.name or ''}' is closed; nothing can be pushed any more.")
        if len(self._items) == self._items.maxlen:
            self._dropped += 1
        self._items.append((next(_stamps), item))
        if self._told is not None:
            self._told(item)

    def close(self) -> None:
        """End the channel: readers stop after what is kept."""
        self._closed = True

    def fail(self, err: BaseException) -> None:
        """End the channel with an error, which readers get after what is kept."""
        self._error = self._error or err
        self.close()

    @property
    def closed(self) -> bool:
        """Whether the channel has ended."""
        return self._closed

    def cursor(self) -> Cursor[T]:
        """Return a reader at the first item that is kept."""
        return Cursor(self)

    def __iter__(self) -> Iterator[T]:
        cursor = self.cursor()
        while True:
            while cursor.has_item():
                yield cursor.take()
            if (self._pump is None or self._closed or not self._pump()) and not cursor.has_item():
                return cursor.end()

    async def __aiter__(self) -> AsyncIterator[T]:
        cursor = self.cursor()
        while True:
            while cursor.has_item():
                yield cursor.take()
            if (self._apump is None or self._closed or not await self._apump()) and not cursor.has_item():
                cursor.end()
                return

    def tee(self, n: int = 2) -> tuple[Iterator[T], ...]:
        """Return readers that are independent of each other."""
        return tuple(iter(self) for _ in range(n))

    def atee(self, n: int = 2) -> tuple[AsyncIterator[T], ...]:
        """Return asynchronous readers that are independent of each other."""
        return tuple(aiter(self) for _ in range(n))


class Cursor(Generic[T]):
    """A place in a channel."""

    def __init__(self, channel: StreamChannel[T]) -> None:
        self._channel = channel
        self._next = channel._dropped

    def _index(self) -> int:
        self._next = max(self._next, self._channel._dropped)
        return self._next - self._channel._dropped

    def has_item(self) -> bool:
        """Tell whether there is an item that was not taken."""
        return self._index() < len(self._channel._items)

    def stamp(self) -> int:
        """Return the number of the next item among all items of all channels."""
        return self._channel._items[self._index()][0]

    def take(self) -> T:
        """Return the next item."""
        item = self._channel._items[self._index()][1]
        self._next += 1
        return item

    def end(self) -> None:
        """Raise the error that the channel has ended with, if there is one."""
        if self._channel._error is not None:
            raise self._channel._error
