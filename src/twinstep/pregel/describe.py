"""What a compiled object tells about itself: its picture and its schemas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twinstep.pregel import drive_sync
from twinstep.pregel.threads import ThreadAccess
from twinstep.types import RunnableConfig
from twinstep.typing import ContextT, InputT, OutputT, StateT
from twinstep.warnings import deprecate

if TYPE_CHECKING:
    from pydantic import BaseModel

    from twinstep.drawing import Graph
    from twinstep.pregel.effects import Program


class Described(ThreadAccess[StateT, ContextT, InputT, OutputT]):
    """The picture and the schemas of a compiled program."""

    def get_graph(self, config: RunnableConfig | None = None, *, xray: int | bool = False) -> Graph:
        """Return the nodes and the possible transitions, to be looked at or drawn.

        Only what is declared is shown: edges, branches with the ends they name, destinations of commands. A path
        function that names none leads to every other node.

        Args:
            config: names a thread of an entrypoint (and a checkpoint, if not the last): the tasks that its run has
                called are shown too.
            xray: open up the graphs nested in nodes; a number says how many levels deep.

        Raises:
            CheckpointNotFoundError: the config names a checkpoint that does not exist.
        """
        program = self._calls_program(config)
        return self._opened(None if program is None else drive_sync.settle(program), xray)

    async def aget_graph(self, config: RunnableConfig | None = None, *, xray: int | bool = False) -> Graph:
        """Do what `get_graph` does, on the running event loop."""
        from twinstep.pregel import drive_async

        program = self._calls_program(config)
        return self._opened(None if program is None else await drive_async.settle(program), xray)

    def _calls_program(self, config: RunnableConfig | None) -> Program[Graph] | None:
        from twinstep.pregel.outline import recorded_calls

        if not self.spec.functional or self.journal() is None or not (config or {}).get("configurable"):
            return None
        run, checkpoint_id, graph = self._reader(config or {})
        return recorded_calls(run, checkpoint_id) if graph is self else None

    def _opened(self, graph: Graph | None, xray: int | bool) -> Graph:
        from twinstep.pregel.outline import open_up, outline

        graph = outline(self.spec) if graph is None else graph
        for name, child in self.get_subgraphs() if xray else ():
            open_up(graph, name, child.get_graph(xray=xray if xray is True else xray - 1))
        return graph

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        """Show the picture in a notebook, in the best form it can display."""
        graph = self.get_graph()
        return {**graph._repr_mimebundle_(), "text/plain": repr(self)}

    # ------------------------------------------------------------------ schemas

    def get_input_schema(self, config: RunnableConfig | None = None) -> type[BaseModel]:
        """Return a pydantic model of the input: the input schema itself if it is one, else a root model around it."""
        from twinstep.pregel.schemas import model_of

        return model_of(self.spec.input_type, self._title("Input"))

    def get_output_schema(self, config: RunnableConfig | None = None) -> type[BaseModel]:
        """Return a pydantic model of the result: the output schema itself if it is one, else a root model around it."""
        from twinstep.pregel.schemas import model_of

        return model_of(self.spec.output_type, self._title("Output"))

    def get_input_jsonschema(self, config: RunnableConfig | None = None) -> dict[str, Any]:
        """Return the JSON schema of the input."""
        from twinstep.pregel.schemas import json_schema

        return json_schema(self.spec.input_type, self._title("Input"))

    def get_output_jsonschema(self, config: RunnableConfig | None = None) -> dict[str, Any]:
        """Return the JSON schema of the result."""
        from twinstep.pregel.schemas import json_schema

        return json_schema(self.spec.output_type, self._title("Output"))

    def get_context_jsonschema(self) -> dict[str, Any] | None:
        """Return the JSON schema of the context, or None when there is no context schema."""
        from twinstep.pregel.schemas import json_schema

        return None if self.context_schema is None else json_schema(self.context_schema, self._title("Context"))

    def get_config_jsonschema(self, *, include: Any = None) -> dict[str, Any]:
        """Return a JSON schema that shows the context as `configurable`; use `get_context_jsonschema` instead."""
        deprecate("get_config_jsonschema()", "get_context_jsonschema()")
        context = self.get_context_jsonschema()
        properties = {} if context is None else {"configurable": context}
        return {"properties": properties, "title": self._title("Config"), "type": "object"}

    def config_schema(self, *, include: Any = None) -> type[BaseModel]:
        """Return a pydantic model with the context as `configurable`; use `get_context_jsonschema` instead."""
        from twinstep.pregel.schemas import config_model

        deprecate("config_schema()", "get_context_jsonschema()")
        return config_model(self.context_schema, self._title("Config"))

    @property
    def input_schema(self) -> type[BaseModel]:
        """The pydantic model of the input."""
        return self.get_input_schema()

    @property
    def output_schema(self) -> type[BaseModel]:
        """The pydantic model of the result."""
        return self.get_output_schema()

    def get_name(self, suffix: str | None = None) -> str:
        """Return the name, with something appended."""
        return self.name + (suffix or "")

    def _title(self, what: str) -> str:
        """Return the title of a schema that has no name of its own."""
        return f"{'LangGraph' if self.spec.functional else self.name}{what}"
