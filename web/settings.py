"""The settings file: YAML, checked in one go, frozen. Every fault is told with its path, value and remedy.

A secret stands in the file itself, in a file of its own (``*_file``) or in the environment. Relative paths start at
the folder of the settings file. `config/takeover.example.yaml` shows every key.
"""

import os
import re
from collections.abc import Hashable, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from .errors import Fault
from .faults import faults_of, shown

DEFAULT_PATH = Path("/etc/takeover/takeover.yaml")


class SettingsError(Exception):
    """The settings cannot be used; `faults` says all that is wrong with them."""

    def __init__(self, source: str, *faults: Fault) -> None:
        lines = "\n".join(f"  {fault}" for fault in faults)
        super().__init__(f"{source}: {len(faults)} fault{'s' if len(faults) != 1 else ''}\n{lines}")
        self.source, self.faults = source, faults


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"give a regular expression that compiles ({error})") from None
    return value


def _port_range(value: str) -> str:
    match = re.fullmatch(r"(\d{1,5})-(\d{1,5})", value)
    if match is None or not 1024 <= int(match[1]) <= int(match[2]) <= 65535:
        raise ValueError('give a range within 1024-65535, like "20000-20199"')
    return value


def _network(value: str) -> str:
    try:
        ip_network(value)
    except ValueError:
        raise ValueError('give an address or a network, like "10.0.0.5" or "10.0.0.0/24"') from None
    return value


def _origin(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError('give scheme and host, like "https://takeover.example.com"')
    return value.rstrip("/")


def _destination(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]+,[A-Za-z0-9_*#+.-]+,\d+", value):
        raise ValueError('give "context,extension,priority", like "support,200,1"')
    return value


Port = Annotated[int, Field(ge=0, le=65535)]
Pattern = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_pattern)]
Key = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]


class Part(BaseModel):
    """A part of the settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Tls(Part):
    """How the panel is served by https."""

    cert_file: Path | None = None
    key_file: Path | None = None
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

    host: str = "127.0.0.1"
    port: Port = 8080
    public_url: Annotated[str, AfterValidator(_origin)] | None = None
    tls: Tls | None = None
    trusted_proxies: tuple[Annotated[str, AfterValidator(_network)], ...] = ()
    session_hours: Annotated[float, Field(gt=0, le=168)] = 12

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
    host: Annotated[str, Field(min_length=1, max_length=255)] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 5038
    username: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
    secret: SecretStr | None = None
    secret_file: Path | None = None
    tls: bool = False
    tls_ca_file: Path | None = None
    ais: Annotated[tuple[AiRule, ...], Field(max_length=100)] = ()
    destinations: Mapping[Key, Annotated[str, AfterValidator(_destination)]] = Field(default_factory=dict)
    deadman_s: Annotated[float, Field(ge=2, le=60)] = 5


class IceServer(Part):
    """A STUN or TURN server, for browsers that cannot reach the workers directly."""

    url: Annotated[str, Field(pattern=r"^(stun|stuns|turn|turns):[^\s]+$")]
    username: str | None = None
    credential: SecretStr | None = None


class Media(Part):
    """The agents' audio."""

    workers: Annotated[int, Field(ge=0, le=64)] = 0
    udp_ports: Annotated[str, AfterValidator(_port_range)] | None = None
    public_addresses: tuple[Annotated[str, AfterValidator(_network)], ...] = ()
    audiosocket_host: str = "127.0.0.1"
    pbx_addresses: tuple[Annotated[str, AfterValidator(_network)], ...] = ()
    ice_servers: tuple[IceServer, ...] = ()
    max_legs_per_worker: Annotated[int, Field(ge=1, le=500)] = 50
    max_lateness_ms: Annotated[float, Field(gt=0, le=1000)] = 5
    suppression: bool = True


class StorePart(Part):
    """Where accounts, sessions, transcripts and the audit are kept."""

    url: str | None = None


class Audit(Part):
    """The key that chains the audit."""

    key_file: Path | None = None


class Log(Part):
    """What is logged, and how."""

    format: Literal["auto", "console", "json"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"
    pii: bool = False


class Settings(Part):
    """Everything that can be set."""

    instance: Key | None = None
    data_dir: Path = Path("/var/lib/takeover")
    http: Http = Http()
    pbx: Annotated[Mapping[Key, Asterisk], Field(min_length=1)]
    media: Media = Media()
    store: StorePart = StorePart()
    audit: Audit = Audit()
    log: Log = Log()

    @property
    def store_url(self) -> str:
        """SQLAlchemy's URL of the store."""
        return self.store.url or f"sqlite+aiosqlite:///{self.data_dir / 'takeover.db'}"

    @property
    def audit_key_file(self) -> Path:
        """Where the audit's key lies."""
        return self.audit.key_file or self.data_dir / "audit.key"


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice: YAML would silently let the last one win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                line = key_node.start_mark.line + 1
                raise _DuplicateKey(str(key), line)
            if isinstance(key, Hashable):
                seen.add(key)
        return super().construct_mapping(node, deep)


class _DuplicateKey(yaml.YAMLError):
    def __init__(self, key: str, line: int) -> None:
        super().__init__(f"line {line}: {key!r} is given twice")
        self.key, self.line = key, line


def secret_variable(pbx: str) -> str:
    """The variable that may hold the AMI secret of one PBX."""
    return f"TAKEOVER_PBX_{pbx.upper().replace('-', '_')}_SECRET"


def load(path: Path, variables: Mapping[str, str] | None = None) -> Settings:
    """Reads and checks a settings file. Raises `SettingsError` with all faults at once."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        remedy = "there is no such file; copy takeover.example.yaml there, or name another with --config"
        raise SettingsError(str(path), Fault("", "", remedy)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(str(path), Fault("", "", f"it cannot be read ({error})")) from None
    return parse(text, source=str(path), folder=path.absolute().parent, variables=variables)


def parse(
    text: str, *, source: str = "settings", folder: Path | None = None, variables: Mapping[str, str] | None = None
) -> Settings:
    """Checks the text of a settings file. Raises `SettingsError` with all faults at once."""
    try:
        tree = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader, only stricter
    except _DuplicateKey as error:
        raise SettingsError(source, Fault(error.key, f"line {error.line}", "it is given twice; keep one")) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise SettingsError(source, Fault("", "", f"it is not valid YAML ({_one_line(error)})")) from None
    if not isinstance(tree, dict):
        raise SettingsError(source, Fault("", shown(tree), "the file holds a map of settings; see the example"))
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        raise SettingsError(source, *faults_of(error, Settings)) from None
    return _resolved(settings, source, folder or Path.cwd(), os.environ if variables is None else variables)


def _resolved(settings: Settings, source: str, folder: Path, variables: Mapping[str, str]) -> Settings:
    """Paths made absolute, secrets read; whatever is missing on disk is a fault like any other."""
    faults: list[Fault] = []

    def at(path: Path | None) -> Path | None:
        return None if path is None else folder / path.expanduser()

    def existing(path: Path | None, field: str) -> Path | None:
        found = at(path)
        if found is not None and not os.access(found, os.R_OK):
            faults.append(Fault(field, shown(str(found)), "there is no such file, or it may not be read"))
        return found

    pbxs = {}
    for name, one in settings.pbx.items():
        field = f"pbx.{name}"
        secret, fault = _secret(one, name, folder, variables)
        if fault is not None:
            faults.append(fault)
        ca_file = existing(one.tls_ca_file, f"{field}.tls_ca_file")
        if ca_file is not None and not one.tls:
            faults.append(Fault(f"{field}.tls_ca_file", shown(str(ca_file)), "it has no effect without tls: true"))
        pbxs[name] = one.model_copy(update={"secret": secret, "secret_file": None, "tls_ca_file": ca_file})
    http = settings.http
    if http.tls is not None:
        tls = http.tls.model_copy(
            update={
                "cert_file": existing(http.tls.cert_file, "http.tls.cert_file"),
                "key_file": existing(http.tls.key_file, "http.tls.key_file"),
            }
        )
        http = http.model_copy(update={"tls": tls})
    if faults:
        raise SettingsError(source, *faults)
    return settings.model_copy(
        update={
            "pbx": pbxs,
            "http": http,
            "data_dir": at(settings.data_dir),
            "audit": Audit(key_file=at(settings.audit.key_file)),
        }
    )


def _secret(
    pbx: Asterisk, name: str, folder: Path, variables: Mapping[str, str]
) -> tuple[SecretStr | None, Fault | None]:
    field, variable = f"pbx.{name}.secret", secret_variable(name)
    if pbx.secret is not None and pbx.secret_file is not None:
        return None, Fault(field, "***", "give secret or secret_file, not both")
    if pbx.secret is not None:
        return pbx.secret, None
    if pbx.secret_file is not None:
        path = folder / pbx.secret_file.expanduser()
        try:
            return SecretStr(path.read_text(encoding="utf-8").strip()), None
        except (OSError, UnicodeDecodeError) as error:
            return None, Fault(f"{field}_file", shown(str(path)), f"it cannot be read ({_one_line(error)})")
    if variable in variables:
        return SecretStr(variables[variable]), None
    return None, Fault(field, "", f"it is missing; give secret, secret_file or the environment variable {variable}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
