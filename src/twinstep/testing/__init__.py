"""Helpers for testing programs built on twinstep, with real parts on this machine."""

from twinstep.testing.openai_stub import Failure, OpenAIStub, Received, Reply

__all__ = ["Failure", "OpenAIStub", "Received", "Reply"]
