"""What a state key is: one channel class for every rule of keeping values."""

from twinstep.channels.any_value import AnyValue
from twinstep.channels.base import MISSING, BaseChannel
from twinstep.channels.binop import BinaryOperatorAggregate, Folding
from twinstep.channels.delta import DeltaChannel
from twinstep.channels.ephemeral_value import EphemeralValue
from twinstep.channels.last_value import LastValue, LastValueAfterFinish
from twinstep.channels.named_barrier_value import NamedBarrierValue, NamedBarrierValueAfterFinish
from twinstep.channels.topic import Topic
from twinstep.channels.untracked_value import UntrackedValue

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
