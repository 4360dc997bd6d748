"""A chatbot that remembers the conversation of each thread."""

from typing import Any

from twinstep.graph import END, START, MessagesState, StateGraph


def answer(state: MessagesState) -> dict[str, Any]:
    said = [str(message.content) for message in state["messages"] if message.type == "human"]
    names = [text.removeprefix("I am ") for text in said if text.startswith("I am ")]
    reply = f"Hello {names[-1]}" if names else "Who are you?"
    return {"messages": [{"role": "assistant", "content": f"{reply} ({len(state['messages'])})"}]}


def run(lane: Any, saver: Any) -> list[Any]:
    builder = StateGraph(MessagesState)
    builder.add_node("answer", answer)
    builder.add_edge(START, "answer")
    builder.add_edge("answer", END)
    chatbot = builder.compile(checkpointer=saver)

    def say(text: str, thread: str) -> str:
        config = {"configurable": {"thread_id": thread}}
        result = lane.invoke(chatbot, {"messages": [{"role": "user", "content": text}]}, config)
        return str(result["messages"][-1].content)

    said = [say("Hi", "1"), say("I am Ada", "1"), say("Hi", "2"), say("And now?", "1")]
    kept = lane.state(chatbot, {"configurable": {"thread_id": "1"}}).values["messages"]
    return [*said, [message.type for message in kept]]


EXPECTED = [
    "Who are you? (1)",
    "Hello Ada (3)",
    "Who are you? (1)",
    "Hello Ada (5)",
    ["human", "ai", "human", "ai", "human", "ai"],
]
