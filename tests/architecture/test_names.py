"""The names people import: every module and name of the reference exists, or is listed here as left out or to come."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

NAMES = {
    "graph": "START END StateGraph add_messages MessagesState MessageGraph",
    "graph.state": "StateGraph CompiledStateGraph START END",
    "graph.message": "add_messages MessagesState MessageGraph REMOVE_ALL_MESSAGES push_message",
    "graph.ui": "UIMessage RemoveUIMessage AnyUIMessage push_ui_message delete_ui_message ui_message_reducer",
    "func": "entrypoint task",
    "types": """
        All Checkpointer StreamMode StreamWriter StreamPart ValuesStreamPart UpdatesStreamPart MessagesStreamPart
        CustomStreamPart CheckpointStreamPart TasksStreamPart DebugStreamPart TaskPayload TaskResultPayload
        CheckpointTask CheckpointPayload DebugPayload RetryPolicy TimeoutPolicy CachePolicy TracePolicy omit_payload
        Interrupt StateUpdate PregelTask PregelExecutableTask StateSnapshot Send Command Durability interrupt Overwrite
        GraphOutput ensure_valid_checkpointer""",
    "constants": "START END TAG_HIDDEN TAG_NOSTREAM CONF TASKS CONFIG_KEY_CHECKPOINTER",
    "errors": """GraphRecursionError InvalidUpdateError EmptyInputError EmptyChannelError GraphBubbleUp GraphInterrupt
        NodeInterrupt ParentCommand GraphDrained NodeTimeoutError NodeCancelledError NodeError TaskNotFound
        UnknownInterruptError is_invalid_resume ErrorCode""",
    "config": "get_config get_store get_stream_writer",
    "runtime": "Runtime get_runtime ExecutionInfo ServerInfo RunControl BaseUser",
    "callbacks": "GraphCallbackHandler GraphInterruptEvent GraphResumeEvent GraphLifecycleStatus",
    "channels": """BaseChannel LastValue LastValueAfterFinish AnyValue EphemeralValue UntrackedValue Topic
        BinaryOperatorAggregate DeltaChannel NamedBarrierValue NamedBarrierValueAfterFinish""",
    "channels.base": "BaseChannel",
    "channels.any_value": "AnyValue",
    "channels.binop": "BinaryOperatorAggregate",
    "channels.delta": "DeltaChannel",
    "channels.ephemeral_value": "EphemeralValue",
    "channels.last_value": "LastValue LastValueAfterFinish",
    "channels.named_barrier_value": "NamedBarrierValue NamedBarrierValueAfterFinish",
    "channels.topic": "Topic",
    "channels.untracked_value": "UntrackedValue",
    "managed": "IsLastStep RemainingSteps",
    "managed.is_last_step": "IsLastStep RemainingSteps",
    "pregel": "Pregel NodeBuilder RetryPolicy",
    "pregel.types": """All CachePolicy PregelExecutableTask PregelTask RetryPolicy StateSnapshot StateUpdate StreamMode
        StreamWriter default_retry_on""",
    "pregel.remote": "RemoteGraph RemoteException",
    "pregel.protocol": "PregelProtocol StreamProtocol",
    "stream": """StreamTransformer StreamChannel GraphRunStream AsyncGraphRunStream UpdatesTransformer TasksTransformer
        CustomTransformer CheckpointsTransformer DebugTransformer""",
    "checkpoint.base": "BaseCheckpointSaver Checkpoint CheckpointMetadata CheckpointTuple ChannelVersions",
    "checkpoint.memory": "InMemorySaver MemorySaver PersistentDict",
    "checkpoint.sqlite": "SqliteSaver",
    "checkpoint.sqlite.aio": "AsyncSqliteSaver",
    "checkpoint.postgres": "PostgresSaver ShallowPostgresSaver",
    "checkpoint.postgres.aio": "AsyncPostgresSaver",
    "checkpoint.serde.base": "SerializerProtocol",
    "checkpoint.serde.jsonplus": "JsonPlusSerializer",
    "checkpoint.serde.encrypted": "EncryptedSerializer",
    "checkpoint.serde.types": "ERROR INTERRUPT",
    "checkpoint.serde.event_hooks": "register_serde_event_listener",
    "store.base": "BaseStore Item SearchItem Op GetOp PutOp SearchOp ListNamespacesOp MatchCondition",
    "store.memory": "InMemoryStore BaseStore",
    "store.sqlite": "SqliteStore AsyncSqliteStore",
    "store.postgres": "PostgresStore AsyncPostgresStore PoolConfig",
    "store.postgres.base": "PostgresIndexConfig ANNIndexConfig HNSWConfig IVFFlatConfig PoolConfig",
    "cache.base": "BaseCache",
    "cache.memory": "InMemoryCache",
    "cache.sqlite": "SqliteCache",
    "cache.redis": "RedisCache",
    "prebuilt": """create_react_agent ToolNode ToolCallTransformer tools_condition ValidationNode InjectedState
        InjectedStore ToolRuntime""",
    "prebuilt.chat_agent_executor": "AgentState",
    "prebuilt.interrupt": "HumanInterrupt HumanInterruptConfig ActionRequest HumanResponse",
    "utils.config": "ensure_config get_config get_store get_stream_writer patch_configurable",
    "warnings": """TwinstepDeprecationWarning LangGraphDeprecationWarning LangGraphDeprecatedSinceV05
        LangGraphDeprecatedSinceV10 LangGraphDeprecatedSinceV11""",
    "typing": "StateT StateT_co StateT_contra InputT OutputT ContextT",
    "version": "__version__",
}
"""Section by section: module below the root, and its names."""

MISSING: dict[str, str] = {
    "graph.ui": "left out: messages for a web front end of the reference's server",
    "pregel.remote": "left out: graphs behind the reference's server",
    "checkpoint.memory.PersistentDict": "left out: a dictionary that pickles itself into a file",
    "checkpoint.postgres.ShallowPostgresSaver": "left out: prune() keeps only the latest checkpoint",
    "checkpoint.serde.event_hooks": "left out: decoding constructs nothing that would have to be reported",
    "pregel.protocol.StreamProtocol": "left out: a part of the reference's engine",
}
"""What does not exist, a whole module or one name, and why. Who adds one takes its line away."""

EVERY = [(module, name) for module, names in NAMES.items() for name in names.split()]


def exists(module: str, name: str) -> bool:
    try:
        return hasattr(import_module(f"twinstep.{module}"), name)
    except ModuleNotFoundError as error:
        if not str(error.name).startswith("twinstep"):
            raise
        return False


@pytest.mark.parametrize(("module", "name"), EVERY, ids=lambda part: part)
def test_a_name_of_the_reference_can_be_imported(module: str, name: str) -> None:
    if not {module, f"{module}.{name}"} & MISSING.keys():
        assert exists(module, name)


def test_what_is_listed_as_missing_is_known() -> None:
    assert MISSING.keys() <= {*NAMES, *(f"{module}.{name}" for module, name in EVERY)}
    left_out = [(m, n) for m, n in EVERY if MISSING.get(m, MISSING.get(f"{m}.{n}", "")).startswith("left out")]
    assert [each for each in left_out if exists(*each)] == []


def test_the_guide_says_what_is_left_out() -> None:
    guide = (Path(__file__).parents[2] / "docs/migrating.md").read_text()
    assert [name for name in MISSING if f"`{name.rpartition('.')[2]}`" not in guide and f"`{name}`" not in guide] == []
