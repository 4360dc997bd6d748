"""The functional front-end: entrypoints and tasks."""

from twinstep.func.entrypoint import entrypoint
from twinstep.func.task import task

__all__ = ["entrypoint", "task"]
