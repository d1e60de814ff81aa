"""Events to the AIs' platforms and to teams by webhook: signed, in order, tried again, and never in anybody's way."""

from .delivery import Event, Hook, Links
from .keeping import Keeping
from .signature import HEADER, sign, verify

__all__ = ["HEADER", "Event", "Hook", "Keeping", "Links", "sign", "verify"]
