"""How many coroutines of a run work at once."""

from __future__ import annotations

import asyncio


class Gate:
    """The slots of a run on an event loop; the rule is that of `workers.Slots`."""

    def __init__(self, limit: int, loop: asyncio.AbstractEventLoop) -> None:
        self._free, self._loop = limit, loop
        self._waiting: list[asyncio.Future[None]] = []

    def is_here(self) -> bool:
        """Tell whether it is the gate of the running loop."""
        return asyncio.get_running_loop() is self._loop

    async def enter(self) -> None:
        """Wait for a slot."""
        if self._free > 0:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        """Give a slot to the next that waits, or back; may be called from any thread."""
        if asyncio._get_running_loop() is not self._loop:
            self._loop.call_soon_threadsafe(self.leave)
            return
        self._free += 1
        while self._free > 0 and self._waiting:
            turn = self._waiting.pop(0)
            if not turn.done():
                self._free -= 1
                turn.set_result(None)
