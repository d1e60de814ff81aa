"""Errors that carry facts; how they read in HTTP or in the panel is `web`'s business.

TakeoverError
|-- PbxError
|   |-- PbxUnavailable(pbx, why)       not connected, or the connection was lost meanwhile
|   |-- PbxTimeout(pbx, verb, seconds) connected, but no answer in time
|   |-- VerbRefused(pbx, verb, why)    the PBX said no
|   `-- ChannelGone(pbx, channel)      the channel ended before or while we acted
|-- CallEnded(call)                    the call has ended
|-- CallUnknown(call)                  there never was such a call, or it is forgotten
|-- EngagementUnknown(engagement)
|-- AlreadyTaken(call, speaker)        somebody else speaks in this call; a PBX may not know who
|-- AlreadyEngaged(call, engagement)   this agent is in this or another call with the same leg
|-- ModeNotPossible(call, mode, why)
|-- LegNotReady(leg, why)              nobody mutes an AI for a dead microphone
|-- NotAllowed(act, why)
|-- LastAdministrator(username)        nobody could administer any more
|-- BadValue(field, value, remedy)     a value that the seam refuses
`-- StoreUnavailable(why)              the audit could not be written, so the act did not happen
"""

import re


class TakeoverError(Exception):
    """Base of all errors of the domain."""

    @property
    def slug(self) -> str:
        """The error's name in audit and API: `AlreadyTaken` is ``already-taken``."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", type(self).__name__).lower()


class PbxError(TakeoverError):
    """Something between us and the PBX."""

    def __init__(self, pbx: str, message: str) -> None:
        super().__init__(message)
        self.pbx = pbx


class PbxUnavailable(PbxError):
    """Not connected, or the connection was lost while the command was under way."""

    def __init__(self, pbx: str, why: str) -> None:
        super().__init__(pbx, f"PBX {pbx!r} is unavailable: {why}")
        self.why = why


class PbxTimeout(PbxError):
    """The PBX is connected but did not answer in time; whether it acted is unknown."""

    def __init__(self, pbx: str, verb: str, seconds: float) -> None:
        super().__init__(pbx, f"PBX {pbx!r} did not answer {verb} within {seconds:g} s")
        self.verb, self.seconds = verb, seconds


class VerbRefused(PbxError):
    """The PBX answered no."""

    def __init__(self, pbx: str, verb: str, why: str) -> None:
        super().__init__(pbx, f"PBX {pbx!r} refused {verb}: {why}")
        self.verb, self.why = verb, why


class ChannelGone(PbxError):
    """The channel a command was for does not exist any more."""

    def __init__(self, pbx: str, channel: str) -> None:
        super().__init__(pbx, f"PBX {pbx!r} has no channel {channel!r} any more")
        self.channel = channel


class CallEnded(TakeoverError):
    """The call has ended."""

    def __init__(self, call: str) -> None:
        super().__init__(f"call {call!r} has ended")
        self.call = call


class CallUnknown(TakeoverError):
    """No such call."""

    def __init__(self, call: str) -> None:
        super().__init__(f"there is no call {call!r}")
        self.call = call


class EngagementUnknown(TakeoverError):
    """No such engagement."""

    def __init__(self, engagement: str) -> None:
        super().__init__(f"there is no engagement {engagement!r}")
        self.engagement = engagement


class AlreadyTaken(TakeoverError):
    """Somebody else speaks in this call."""

    def __init__(self, call: str, speaker: str) -> None:
        super().__init__(f"{speaker} already speaks in call {call!r}")
        self.call, self.speaker = call, speaker


class AlreadyEngaged(TakeoverError):
    """One agent leg carries one engagement."""

    def __init__(self, call: str, engagement: str) -> None:
        super().__init__(f"this leg is already engaged in call {call!r}; leave that call first")
        self.call, self.engagement = call, engagement


class ModeNotPossible(TakeoverError):
    """The call's topology or state does not allow this mode."""

    def __init__(self, call: str, mode: str, why: str) -> None:
        super().__init__(why)
        self.call, self.mode, self.why = call, mode, why


class LegNotReady(TakeoverError):
    """The agent leg is not fit to speak."""

    def __init__(self, leg: str, why: str) -> None:
        super().__init__(f"agent leg {leg!r} is not ready: {why}")
        self.leg, self.why = leg, why


class NotAllowed(TakeoverError):
    """The actor may not do this."""

    def __init__(self, act: str, why: str) -> None:
        super().__init__(why)
        self.act, self.why = act, why


class LastAdministrator(TakeoverError):
    """Without this account as it is, nobody could administer any more."""

    def __init__(self, username: str) -> None:
        super().__init__(f"{username!r} is the last administrator; add or promote another one first")
        self.username = username


class BadValue(TakeoverError):
    """A value that the PBX seam refuses."""

    def __init__(self, field: str, value: str, remedy: str) -> None:
        super().__init__(f"{field}: {value!r} is not accepted; {remedy}")
        self.field, self.value, self.remedy = field, value, remedy


class StoreUnavailable(TakeoverError):
    """The audit could not be written, so the act did not happen."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the store is unavailable: {why}")
        self.why = why
