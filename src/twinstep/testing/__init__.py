"""Helpers for testing programs built on twinstep, with real parts on this machine."""

from twinstep.testing.model_stub import ModelStub, OpenAIStub
from twinstep.testing.script import Failure, Received, Reply

__all__ = ["Failure", "ModelStub", "OpenAIStub", "Received", "Reply"]
