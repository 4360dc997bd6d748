"""State keys that the engine fills in at every read."""

from twinstep.managed.is_last_step import IsLastStep, ManagedValue, RemainingSteps

__all__ = ["IsLastStep", "ManagedValue", "RemainingSteps"]
