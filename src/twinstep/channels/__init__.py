"""What a state key is: one channel class for every rule of keeping values."""

from twinstep.channels.base import MISSING, BaseChannel
from twinstep.channels.binop import BinaryOperatorAggregate, DeltaChannel, Folding
from twinstep.channels.ephemeral_value import EphemeralValue, UntrackedValue
from twinstep.channels.last_value import AnyValue, LastValue, LastValueAfterFinish
from twinstep.channels.named_barrier_value import NamedBarrierValue, NamedBarrierValueAfterFinish
from twinstep.channels.topic import Topic

__all__ = [
    "MISSING",
    "AnyValue",
    "BaseChannel",
    "BinaryOperatorAggregate",
    "DeltaChannel",
    "EphemeralValue",
    "Folding",
    "LastValue",
    "LastValueAfterFinish",
    "NamedBarrierValue",
    "NamedBarrierValueAfterFinish",
    "Topic",
    "UntrackedValue",
]
