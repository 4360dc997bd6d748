"""The event stream: one log of typed events per run, seen through the stream modes."""

from twinstep.stream.callbacks import callback_listeners
from twinstep.stream.log import SILENT, EventLog, Listener, Observer, Printer
from twinstep.stream.modes import NO_CHUNK, Keys, as_result, as_update, check_modes

__all__ = [
    "NO_CHUNK",
    "SILENT",
    "EventLog",
    "Keys",
    "Listener",
    "Observer",
    "Printer",
    "as_result",
    "as_update",
    "callback_listeners",
    "check_modes",
]
