"""What `stack` needs of a PBX with people on it, be it an Asterisk (`lab.Lab`) or a FreeSWITCH (`freeswitch.FsLab`)."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol, Self

from web.demo.sip import SipCall

from .peers import Leg

FALLBACK_HZ = 700
"""What a caller hears whom the PBX's fallback has led to a person's queue."""


class ExchangeCall(Protocol):
    """A caller in conversation with an AI, as both hear it."""

    @property
    def topology(self) -> str: ...
    @property
    def caller(self) -> SipCall: ...
    @property
    def ai(self) -> Leg: ...
    @property
    def uniqueid(self) -> str:
        """Of the caller's channel."""

    async def hangup(self) -> None: ...


class Exchange(Protocol):
    """An async context manager; every call and leg ends with it."""

    @property
    def topologies(self) -> Sequence[str]: ...

    @property
    def control(self) -> tuple[str, int]:
        """Where the service's connection goes: AMI or ESL."""

    @property
    def endings(self) -> Sequence[Mapping[str, Any]]:
        """Options of `call`: dialplans that differ in what they do when the AI hangs up."""

    @property
    def redials(self) -> Mapping[str, Any]:
        """Options of `call`: the PBX's fallback dials the AI once more."""

    def service_settings(self, port: int) -> dict[str, Any]:
        """This PBX in the service's settings, reached through a forwarder on this port."""

    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *_: object) -> None: ...

    @property
    def call(self) -> Callable[..., Coroutine[Any, Any, ExchangeCall]]:
        """A caller in conversation with the AI: `await call(topology, **options)`."""

    async def channels(self) -> Sequence[str]: ...

    async def agent_channels(self) -> Sequence[str]: ...

    async def callers(self) -> set[str]:
        """Ids of the callers' channels that the PBX has."""

    async def no_channels(self, within: float = 5) -> None:
        """Returns when the PBX has no channel left; AssertionError with their names after `within` seconds."""

    async def restart(self) -> None:
        """The PBX is killed and started again."""

    def hangups(self, since: float) -> Sequence[float]:
        """When channels ended, by the PBX's own word."""
