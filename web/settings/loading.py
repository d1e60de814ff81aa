"""From the file to the settings: every fault at once, with its path, value and remedy."""

import os
import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import SecretStr, ValidationError

from connector.adapter.tables import NAMELESS_AI
from connector.domain.errors import BadValue
from connector.domain.escalation import SUPERVISORS
from connector.store.engine import parsed
from connector.transcribers import local

from ..errors import Fault
from ..faults import faults_of, shown
from .fields import check_webhook
from .models import Asterisk, Audit, CaptionsPart, FreeSwitch, Media, Settings, StorePart, Webhook

DEFAULT_PATH = Path("/etc/takeover/takeover.yaml")
CAPTIONS_KEY = "TAKEOVER_CAPTIONS_KEY"
"""The variable that may hold the key of the captions' service."""
STORE_URL = "TAKEOVER_STORE_URL"
"""The variable that may hold the store's address."""
WHOLE = "the file"
MIN_SECRET = 24
"""Characters of a webhook's secret."""


class SettingsError(Exception):
    """The settings cannot be used; `faults` says all that is wrong with them."""

    def __init__(self, source: str, *faults: Fault) -> None:
        lines = "\n".join(f"  {fault}" for fault in faults)
        super().__init__(f"{source}: {len(faults)} fault{'s' if len(faults) != 1 else ''}\n{lines}")
        self.source, self.faults = source, faults


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice: YAML would silently let the last one win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                remedy = f"line {key_node.start_mark.line + 1}: << is not known here; write out what it stands for"
                raise yaml.YAMLError(remedy)
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
    """The variable that may hold the secret of one PBX."""
    return f"TAKEOVER_PBX_{_upper(pbx)}_SECRET"


def load(path: Path, variables: Mapping[str, str] | None = None) -> Settings:
    """Reads and checks a settings file. Raises `SettingsError` with all faults at once."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        remedy = "there is no such file; copy takeover.example.yaml there, or name another with --config"
        raise SettingsError(str(path), Fault(WHOLE, "", remedy)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(str(path), Fault(WHOLE, "", f"it cannot be read ({error})")) from None
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
        tabs = "; indent with spaces, never with tabs" if r"'\t'" in str(error) else ""
        raise SettingsError(source, Fault(WHOLE, "", f"it is not valid YAML ({_one_line(error)}){tabs}")) from None
    if not isinstance(tree, dict):
        raise SettingsError(
            source, Fault(WHOLE, shown(tree), "it must hold a map of settings; see takeover.example.yaml")
        )
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        raise SettingsError(source, *faults_of(error, Settings)) from None
    return _resolved(settings, source, folder or Path.cwd(), os.environ if variables is None else variables)


def _resolved(settings: Settings, source: str, folder: Path, variables: Mapping[str, str]) -> Settings:
    """Paths made absolute, secrets read; whatever is missing on disk is a fault like any other."""
    faults: list[Fault] = []

    def at(path: Path | None) -> Path | None:
        return None if path is None else folder / path

    def existing(path: Path | None, field: str) -> Path | None:
        found = at(path)
        if found is not None and not (found.is_file() and os.access(found, os.R_OK)):
            faults.append(Fault(field, shown(str(found)), "there is no such file, or it may not be read"))
        return found

    pbxs: dict[str, Asterisk | FreeSwitch] = {}
    for name, one in settings.pbx.items():
        field = f"pbx.{name}"
        secret, fault = _secret(
            one.secret, one.secret_file, f"{field}.secret", folder, secret_variable(name), variables
        )
        if fault is not None:
            faults.append(fault)
        update: dict[str, Any] = {"secret": secret, "secret_file": None}
        if isinstance(one, Asterisk):
            ca_file = existing(one.tls_ca_file, f"{field}.tls_ca_file")
            if ca_file is not None and not one.tls:
                faults.append(Fault(f"{field}.tls_ca_file", shown(str(ca_file)), "it has no effect without tls: true"))
            update["tls_ca_file"] = ca_file
        pbxs[name] = one.model_copy(update=update)
    webhooks = {}
    for name, hook in settings.webhooks.items():
        webhooks[name], wrong = _webhook(hook, name, folder, variables)
        faults += wrong
    captions, wrong = _captions(settings.captions, folder, variables)
    store, faulty = _store(settings.store, folder, variables)
    faults += [*wrong, *faulty, *_cross_checked(settings), *_ports(settings.media)]
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
            "webhooks": webhooks,
            "captions": captions,
            "store": store,
            "http": http,
            "data_dir": at(settings.data_dir),
            "audit": Audit(key_file=at(settings.audit.key_file)),
        }
    )


def _captions(part: CaptionsPart, folder: Path, variables: Mapping[str, str]) -> tuple[CaptionsPart, list[Fault]]:
    """The captions' settings with the key read; a service of one's own may need none."""
    faults = []
    if part.backend == "http" and part.url is None:
        faults.append(Fault("captions.url", "", "it is missing; backend: http needs it"))
    if part.backend != "http" and part.url is not None:
        faults.append(Fault("captions.url", shown(part.url), "it has no effect without backend: http"))
    if part.backend == "local" and not local.available():
        remedy = "install the extra: pip install 'takeover[captions]'"
        faults.append(Fault("captions.backend", shown("local"), remedy))
    if part.key is None and part.key_file is None and CAPTIONS_KEY not in variables:
        return part, faults
    key, fault = _secret(part.key, part.key_file, "captions.key", folder, CAPTIONS_KEY, variables)
    return part.model_copy(update={"key": key, "key_file": None}), faults + ([fault] if fault is not None else [])


def _store(part: StorePart, folder: Path, variables: Mapping[str, str]) -> tuple[StorePart, list[Fault]]:
    """The store's settings with the address read; without any, it lies in `data_dir`."""
    if part.url is None and part.url_file is None and STORE_URL not in variables:
        return part, []
    url, fault = _secret(part.url, part.url_file, "store.url", folder, STORE_URL, variables)
    if url is None or fault is not None:
        return part, [fault] if fault is not None else []
    try:
        parsed(url.get_secret_value())
    except BadValue as error:
        return part, [Fault("store.url", shown(error.value), error.remedy)]
    return StorePart(url=url), []


def _cross_checked(settings: Settings) -> list[Fault]:
    """What one part of the settings says about another must be there."""
    faults = []
    named = {rule.name for pbx in settings.pbx.values() for rule in pbx.ais} | {NAMELESS_AI}
    policies = {f"ais.{name}": name for name in settings.ais}
    hooks = {f"webhooks.{name}.ai": hook.ai for name, hook in settings.webhooks.items() if hook.ai is not None}
    faults += [
        Fault(field, shown(name), f"no rule of pbx.*.ais is called so; known are {', '.join(sorted(named))}")
        for field, name in {**policies, **hooks}.items()
        if name not in named
    ]
    for number, rung in enumerate(settings.escalation.ladder):
        field = f"escalation.ladder.{number}"
        for name in rung.notify:
            if name != SUPERVISORS and name not in settings.webhooks:
                known = ", ".join([SUPERVISORS, *sorted(settings.webhooks)])
                faults.append(Fault(f"{field}.notify", shown(name), f"name one of: {known}"))
        lacking = [name for name, pbx in settings.pbx.items() if rung.transfer not in (None, *pbx.destinations)]
        faults += [
            Fault(f"{field}.transfer", shown(rung.transfer), f"add this key to pbx.{name}.destinations")
            for name in lacking
        ]
    return faults


def _ports(part: Media) -> list[Fault]:
    """Too few ports for anybody's work; whether there are enough for all agents, `takeover check` can only ask."""
    least = 2 * (part.workers or 1)
    if part.ports is None or len(part.ports) >= least:
        return []
    has = f"it has {len(part.ports)} port{'s' if len(part.ports) > 1 else ''}"
    why = "each worker needs one for an agent, and one more while that agent's network changes"
    return [Fault("media.udp_ports", shown(part.udp_ports), f"{has}; give {least} or more: {why}")]


def _webhook(one: Webhook, name: str, folder: Path, variables: Mapping[str, str]) -> tuple[Webhook, list[Fault]]:
    """The webhook with its address and secret read."""
    field, variable = f"webhooks.{name}", f"TAKEOVER_WEBHOOK_{_upper(name)}"
    url, fault = _secret(one.url, one.url_file, f"{field}.url", folder, f"{variable}_URL", variables)
    faults = [fault] if fault is not None else []
    if url is not None:
        try:
            check_webhook(url.get_secret_value(), allow_http=one.allow_http)
        except ValueError as error:
            faults.append(Fault(f"{field}.url", "***", str(error)))
    secret = one.secret
    if one.format == "signed":
        secret, fault = _secret(one.secret, one.secret_file, f"{field}.secret", folder, f"{variable}_SECRET", variables)
        faults += [fault] if fault is not None else []
        if secret is not None and len(secret.get_secret_value()) < MIN_SECRET:
            remedy = f"use at least {MIN_SECRET} characters, like those of: openssl rand -hex 32"
            faults.append(Fault(f"{field}.secret", "***", remedy))
    elif one.secret is not None or one.secret_file is not None:
        faults.append(Fault(f"{field}.secret", "***", "it has no effect with format: slack; leave it out"))
    return one.model_copy(update={"url": url, "url_file": None, "secret": secret, "secret_file": None}), faults


def _secret(
    given: SecretStr | None, file: Path | None, field: str, folder: Path, variable: str, variables: Mapping[str, str]
) -> tuple[SecretStr | None, Fault | None]:
    """A secret out of the settings, a file or the environment; or what is wrong with it."""
    key = field.rpartition(".")[2]
    if given is not None and file is not None:
        return None, Fault(field, "***", f"give {key} or {key}_file, not both")
    if given is not None:
        return _one_word(given.get_secret_value(), field, f"write the {key} there, or leave it out")
    if file is not None:
        path = folder / file
        try:
            text = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            return None, Fault(f"{field}_file", shown(str(path)), f"it cannot be read ({_one_line(error)})")
        return _one_word(_bare(text), f"{field}_file", f"write the {key}, and nothing else, into {str(path)!r}")
    if variable in variables:
        return _one_word(variables[variable], field, f"put the {key} into the environment variable {variable}")
    remedy = f"it is missing; give {key}, {key}_file or the environment variable {variable}"
    return None, Fault(field, "", remedy)


def _bare(text: str) -> str:
    """The secret in a file; Asterisk's own, which `takeover dialplan --install` makes, has it as ``secret=...``."""
    return re.sub(r"^secret\s*=\s*", "", text)


def _one_word(text: str, field: str, remedy: str) -> tuple[SecretStr | None, Fault | None]:
    """A secret, unless it can be none."""
    if not text:
        return None, Fault(field, "", f"it is empty; {remedy}")
    if re.search(r"[\x00-\x1f\x7f]", text):  # a line break would begin another command at a PBX
        return None, Fault(field, "***", f"it has more than one line, or control characters; {remedy}")
    return SecretStr(text), None


def _upper(name: str) -> str:
    return name.upper().replace("-", "_")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
