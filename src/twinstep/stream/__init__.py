"""The event stream: one log of typed events per run, seen through the stream modes and through run streams."""

from twinstep.stream.log import SILENT, EventLog, Listener, Observer, Printer
from twinstep.stream.modes import NO_CHUNK, Keys, as_result, as_update, check_modes
from twinstep.stream.protocol import LifecyclePayload, ProtocolEvent, SubgraphStatus
from twinstep.stream.run_stream import (
    AsyncGraphRunStream,
    AsyncSubgraphRunStream,
    GraphRunStream,
    SubgraphRunStream,
)
from twinstep.stream.stream_channel import StreamChannel
from twinstep.stream.transformers import (
    CheckpointsTransformer,
    CustomTransformer,
    DebugTransformer,
    LifecycleTransformer,
    MessagesTransformer,
    MessageStream,
    StreamTransformer,
    SubgraphTransformer,
    TasksTransformer,
    UpdatesTransformer,
    ValuesTransformer,
)

__all__ = [
    "NO_CHUNK",
    "SILENT",
    "AsyncGraphRunStream",
    "AsyncSubgraphRunStream",
    "CheckpointsTransformer",
    "CustomTransformer",
    "DebugTransformer",
    "EventLog",
    "GraphRunStream",
    "Keys",
    "LifecyclePayload",
    "LifecycleTransformer",
    "Listener",
    "MessageStream",
    "MessagesTransformer",
    "Observer",
    "Printer",
    "ProtocolEvent",
    "StreamChannel",
    "StreamTransformer",
    "SubgraphRunStream",
    "SubgraphStatus",
    "SubgraphTransformer",
    "TasksTransformer",
    "UpdatesTransformer",
    "ValuesTransformer",
    "as_result",
    "as_update",
    "check_modes",
]
