"""What can be set. `config/takeover.example.yaml` shows every key."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from connector.domain.escalation import Priority

from .fields import (
    File,
    Key,
    Pattern,
    Port,
    address,
    destination,
    ice,
    machine,
    network,
    origin,
    place,
    port_range,
    proxies,
    transcriber,
)


class Part(BaseModel):
    """A part of the settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Tls(Part):
    """How the panel is served by https."""

    cert_file: File | None = None
    key_file: File | None = None
    self_signed: bool = False

    @model_validator(mode="after")
    def _one_way(self) -> "Tls":
        if self.self_signed and (self.cert_file or self.key_file):
            raise ValueError("give either self_signed or cert_file and key_file")
        if not self.self_signed and not (self.cert_file and self.key_file):
            raise ValueError("give cert_file and key_file, or self_signed: true")
        return self


class Http(Part):
    """Where browsers and machines reach the service."""

    host: Annotated[str, AfterValidator(machine)] = "127.0.0.1"
    port: Port = 8080
    public_url: Annotated[str, AfterValidator(origin)] | None = None
    tls: Tls | None = None
    trusted_proxies: tuple[Annotated[str, AfterValidator(proxies)], ...] = ()
    session_hours: Annotated[float, Field(gt=0, le=168)] = 12
    monitoring: tuple[Annotated[str, AfterValidator(network)], ...] = ("127.0.0.0/8", "::1/128")
    requests_per_second: Annotated[float, Field(gt=0, le=100_000)] = 50
    ai_requests_per_second: Annotated[float, Field(gt=0, le=100_000)] = 1_000
    connections_per_address: Annotated[int, Field(ge=10, le=1_000_000)] = 3_000

    @model_validator(mode="after")
    def _one_scheme(self) -> "Http":
        if self.tls is not None and (self.public_url or "").startswith("http:"):
            raise ValueError("with tls the panel is served by https: let public_url begin with https")
        return self

    @property
    def https(self) -> bool:
        """Whether browsers come by https, here or at the proxy in front."""
        return self.tls is not None or (self.public_url or "").startswith("https:")


class AiRule(Part):
    """How a dialled channel is recognised as an AI."""

    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
    match: Pattern


class Asterisk(Part):
    """One Asterisk, reached over AMI."""

    kind: Literal["asterisk"]
    host: Annotated[str, AfterValidator(machine)] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 5038
    username: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
    secret: SecretStr | None = None
    secret_file: File | None = None
    tls: bool = False
    tls_ca_file: File | None = None
    ais: Annotated[tuple[AiRule, ...], Field(max_length=100)] = ()
    destinations: Mapping[Key, Annotated[str, AfterValidator(destination)]] = Field(default_factory=dict)
    deadman_s: Annotated[float, Field(ge=2, le=60)] = 5


class FreeSwitch(Part):
    """One FreeSWITCH, reached over its event socket."""

    kind: Literal["freeswitch"]
    host: Annotated[str, AfterValidator(machine)] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8021
    secret: SecretStr | None = None
    secret_file: File | None = None
    sip_profile: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] = "internal"
    ais: Annotated[tuple[AiRule, ...], Field(max_length=100)] = ()
    destinations: Mapping[Key, Annotated[str, AfterValidator(place)]] = Field(default_factory=dict)
    deadman_s: Annotated[float, Field(ge=2, le=60)] = 5


Pbx = Annotated[Asterisk | FreeSwitch, Field(discriminator="kind")]


class IceServer(Part):
    """A STUN or TURN server, for browsers that cannot reach the workers directly."""

    url: Annotated[str, AfterValidator(ice)]
    username: str | None = None
    credential: SecretStr | None = None
    secret: SecretStr | None = None
    """coturn's `static-auth-secret`, instead of the two: each agent gets a login of its own for a day."""

    @model_validator(mode="after")
    def _one_login(self) -> "IceServer":
        if self.secret is not None and (self.username or self.credential):
            raise ValueError("give secret, or username and credential, not both")
        if self.url.startswith("turn") and self.secret is None and not (self.username and self.credential):
            raise ValueError("a TURN server wants a login: give username and credential, or secret")
        return self


class AiPolicy(Part):
    """How one AI is treated."""

    max_priority: Priority = "emergency"
    hears: bool = True
    on_takeover: Literal["mute", "hangup"] = "mute"
    greets_again: bool = False


class Rung(Part):
    """One step of the ladder that a request for a human climbs while nobody comes."""

    after_s: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)]
    after: Literal["request", "deadline"] = "request"
    priority: Priority | None = None
    notify: tuple[Key, ...] = ()
    transfer: Key | None = None


class EscalationPart(Part):
    """Requests for a human."""

    deadline_s: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] | None = None
    caller_digit: Annotated[str, Field(pattern=r"^[0-9*#]$")] | None = None
    ladder: Annotated[tuple[Rung, ...], Field(max_length=20)] = ()


EventKind = Literal[
    "takeover.started",
    "takeover.ended",
    "coach",
    "escalation.raised",
    "escalation.step",
    "escalation.answered",
    "escalation.withdrawn",
    "escalation.ended",
]


class Webhook(Part):
    """Where events are sent."""

    url: SecretStr | None = None
    url_file: File | None = None
    format: Literal["signed", "slack"] = "signed"
    secret: SecretStr | None = None
    secret_file: File | None = None
    ai: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    events: tuple[EventKind, ...] | None = None
    allow_http: bool = False


class CaptionsPart(Part):
    """Words for what caller and agent say to each other, made by a machine."""

    backend: Literal["none", "http", "local"] = "none"
    url: Annotated[str, AfterValidator(transcriber)] | None = None
    key: SecretStr | None = None
    key_file: File | None = None
    model: Annotated[str, Field(min_length=1, max_length=100)] = "whisper-1"
    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}$")] | None = None


class Media(Part):
    """The agents' audio."""

    workers: Annotated[int, Field(ge=0, le=64)] = 0
    udp_ports: Annotated[str, AfterValidator(port_range)] | None = None
    public_addresses: tuple[Annotated[str, AfterValidator(address)], ...] = ()
    audiosocket_host: Annotated[str, AfterValidator(machine)] = "127.0.0.1"
    pbx_addresses: tuple[Annotated[str, AfterValidator(network)], ...] = ()
    ice_servers: tuple[IceServer, ...] = ()
    max_legs_per_worker: Annotated[int, Field(ge=1, le=500)] = 50
    max_lateness_ms: Annotated[float, Field(gt=0, le=1000)] = 5
    suppression: bool = True

    @property
    def processes(self) -> int:
        """How many workers there will be."""
        return self.workers or os.cpu_count() or 1

    @property
    def ports(self) -> range | None:
        """The UDP ports that browsers are offered; None: whichever are free."""
        if self.udp_ports is None:
            return None
        first, last = self.udp_ports.split("-")
        return range(int(first), int(last) + 1)


class StorePart(Part):
    """Where accounts, sessions, transcripts and the audit are kept."""

    url: SecretStr | None = None
    url_file: File | None = None


class Retention(Part):
    """How long what is personal is kept."""

    days: Annotated[float, Field(gt=0, le=36_500, allow_inf_nan=False)] | None = None


class Audit(Part):
    """The key that chains the audit."""

    key_file: File | None = None


class Log(Part):
    """What is logged, and how."""

    format: Literal["auto", "console", "json"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"
    pii: bool = False


class Settings(Part):
    """Everything that can be set."""

    instance: Key | None = None
    data_dir: File = Path("/var/lib/takeover")
    http: Http = Http()
    pbx: Annotated[Mapping[Key, Pbx], Field(min_length=1)]
    ais: Mapping[Annotated[str, Field(min_length=1, max_length=64)], AiPolicy] = Field(default_factory=dict)
    escalation: EscalationPart = EscalationPart()
    webhooks: Mapping[Key, Webhook] = Field(default_factory=dict)
    captions: CaptionsPart = CaptionsPart()
    media: Media = Media()
    store: StorePart = StorePart()
    retention: Retention = Retention()
    audit: Audit = Audit()
    log: Log = Log()

    @property
    def store_url(self) -> str:
        """SQLAlchemy's URL of the store; it may hold a password."""
        if self.store.url is not None:
            return self.store.url.get_secret_value()
        return f"sqlite+aiosqlite:///{self.data_dir / 'takeover.db'}"

    @property
    def audit_key_file(self) -> Path:
        """Where the audit's key lies."""
        return self.audit.key_file or self.data_dir / "audit.key"
