"""Settings: the example is complete and current, secrets come from three places, every fault is told."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from web.settings import Asterisk, FreeSwitch, Settings, SettingsError, load, parse

EXAMPLE = Path(__file__).parents[3] / "config" / "takeover.example.yaml"
PBX = "pbx: {main: {kind: asterisk, username: takeover, secret: s3cret}}\n"


def test_the_example_has_every_key_and_no_other() -> None:
    tree = yaml.safe_load(EXAMPLE.read_text())
    # In comments: a secret has no place in an example.
    secrets = [
        "pbx.main.secret",
        "pbx.branch.secret",
        "webhooks.team-chat.url_file",
        "webhooks.team-chat.secret",
        "captions.key",
        "media.ice_servers.0.secret",
        "store.url_file",
    ]
    assert missing(Settings, tree) == secrets
    Settings.model_validate(tree)


def missing(model: type[BaseModel], tree: Any, path: str = "") -> list[str]:
    """Paths of the fields that a tree does not have."""
    found = []
    for name, field in model.model_fields.items():
        here = f"{path}{name}"
        if name not in tree:
            found.append(here)
            continue
        inner = [one for one in (field.annotation, *get_args(field.annotation)) if is_model(one)]
        if name == "pbx":
            inner = [Asterisk]  # of two kinds, looked at below
        inner += [one for outer in get_args(field.annotation) for one in get_args(outer) if is_model(one)]
        values = tree[name]
        for part in inner:
            if isinstance(values, list):
                found += missing(part, values[0], f"{here}.0.")
            elif name == "pbx":
                found += [
                    fault
                    for key, value in values.items()
                    for one in (Asterisk, FreeSwitch)
                    if value["kind"] in get_args(one.model_fields["kind"].annotation)
                    for fault in missing(one, value, f"{here}.{key}.")
                ]
            elif name in ("ais", "webhooks"):
                key = next(iter(values))
                found += missing(part, values[key], f"{here}.{key}.")
            else:
                found += missing(part, values, f"{here}.")
    return found


def is_model(one: Any) -> bool:
    return isinstance(one, type) and issubclass(one, BaseModel)


def test_the_examples_defaults_are_the_real_ones() -> None:
    """What the example shows without calling it an example of yours is what one gets without it."""
    tree = yaml.safe_load(EXAMPLE.read_text())
    default = parse(PBX, variables={})
    for part, keys in {
        "http": ["host", "port", "session_hours"],
        "media": ["workers", "audiosocket_host", "max_legs_per_worker", "max_lateness_ms", "suppression"],
        "log": ["format", "level", "pii"],
    }.items():
        for key in keys:
            assert getattr(getattr(default, part), key) == tree[part][key], f"{part}.{key}"
    assert default.pbx["main"].deadman_s == tree["pbx"]["main"]["deadman_s"]
    assert str(default.data_dir) == tree["data_dir"]
    assert default.store_url == tree["store"]["url"]


def test_secrets_come_from_the_file_itself_a_file_or_the_environment(tmp_path: Path) -> None:
    (tmp_path / "ami").write_text("from-file\n")

    def secret(line: str, **variables: str) -> str:
        text = f"pbx: {{main-1: {{kind: asterisk, username: u, {line}}}}}"
        (tmp_path / "takeover.yaml").write_text(text)
        one = load(tmp_path / "takeover.yaml", variables).pbx["main-1"]
        assert one.secret is not None
        return one.secret.get_secret_value()

    assert secret("secret: inline") == "inline"
    assert secret("secret_file: ami") == "from-file"
    assert secret("port: 5038", TAKEOVER_PBX_MAIN_1_SECRET="from-environment") == "from-environment"


def test_the_address_of_a_store_comes_from_three_places_too(tmp_path: Path) -> None:
    url = "postgresql+asyncpg://takeover:s3cret@db/takeover"
    (tmp_path / "url").write_text(f"{url}\n")
    (tmp_path / "takeover.yaml").write_text(PBX + "store: {url_file: url}\n")
    assert load(tmp_path / "takeover.yaml", {}).store_url == url
    assert parse(PBX, variables={"TAKEOVER_STORE_URL": url}).store_url == url
    inline = parse(PBX + f"store: {{url: '{url}'}}\n", variables={})
    assert inline.store_url == url
    assert "s3cret" not in repr(inline)


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("mysql://takeover:s3cret@db/takeover", "use one of the drivers"),
        ("postgresql://takeover:s3cret@db/takeover", "use one of the drivers"),
        ("postgresql+asyncpg://takeover:s3cret@db:port/takeover", "use sqlite"),
        ("s3cret", "use sqlite"),
        ("sqlite+aiosqlite:///:memory:", "name a file"),
    ],
)
def test_a_store_that_cannot_be_used_is_a_fault_that_shows_no_password(url: str, remedy: str) -> None:
    with pytest.raises(SettingsError) as fault:
        parse(PBX + f"store: {{url: '{url}'}}\n", variables={})
    (one,) = fault.value.faults
    assert one.field == "store.url"
    assert remedy in one.remedy
    assert "s3cret@" not in str(fault.value)


def test_postgresql_without_its_driver_is_a_fault_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(SettingsError, match=r"pip install 'takeover\[postgresql\]'"):
        parse(PBX + "store: {url: 'postgresql+asyncpg://db/takeover'}\n", variables={})


def test_secrets_do_not_show() -> None:
    assert "s3cret" not in repr(parse(PBX, variables={}))
    with pytest.raises(SettingsError) as fault:
        parse("pbx: {main: {kind: asterisk, username: u, secret: [s3cret]}}", variables={})
    assert "s3cret" not in str(fault.value)


def test_settings_are_frozen() -> None:
    settings = parse(PBX, variables={})
    with pytest.raises(ValueError, match="frozen"):
        settings.http.port = 1  # type: ignore[misc]


def test_relative_paths_start_at_the_settings_file(tmp_path: Path) -> None:
    (tmp_path / "takeover.yaml").write_text(PBX + "data_dir: data\naudit: {key_file: keys/audit}\n")
    settings = load(tmp_path / "takeover.yaml", {})
    assert settings.data_dir == tmp_path / "data"
    assert settings.audit_key_file == tmp_path / "keys" / "audit"
    assert settings.store_url == f"sqlite+aiosqlite:///{tmp_path}/data/takeover.db"


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as fault:
        parse("http: {prot: 1, session_hours: 0}\npbx: {main: {kind: asterisk}}\nlog: {level: loud}\n", variables={})
    assert [one.field for one in fault.value.faults] == [
        "http.session_hours",
        "http.prot",
        "pbx.main.username",
        "log.level",
    ]


def test_a_turn_servers_secret_stands_instead_of_a_fixed_login() -> None:
    server = "media: {ice_servers: [{url: 'turn:a', secret: north%s}]}"
    settings = parse(PBX + server % "", variables={})
    secret = settings.media.ice_servers[0].secret
    assert secret is not None
    assert secret.get_secret_value() == "north"
    assert "north" not in repr(settings)
    with pytest.raises(SettingsError, match="give secret, or username and credential, not both"):
        parse(PBX + server % ", username: u", variables={})


@pytest.mark.parametrize("found", ["", "\n", "one\ntwo"])
@pytest.mark.parametrize("where", ["itself", "file", "environment"])
def test_a_secret_that_can_be_none_is_a_fault_wherever_it_stands(where: str, found: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(found)
    given = {"itself": f"secret: {json.dumps(found)}", "file": "secret_file: secret", "environment": "port: 5038"}[
        where
    ]
    text = f"pbx: {{main: {{kind: asterisk, username: takeover, {given}}}}}"
    variables = {"TAKEOVER_PBX_MAIN_SECRET": found} if where == "environment" else {}
    with pytest.raises(SettingsError) as raised:
        parse(text, folder=tmp_path, variables=variables)
    [fault] = raised.value.faults
    assert fault.field == ("pbx.main.secret_file" if where == "file" else "pbx.main.secret")
    assert "two" not in str(fault)
    assert "it is empty; " in fault.remedy or "more than one line" in fault.remedy
    assert {"file": str(tmp_path / "secret"), "environment": "TAKEOVER_PBX_MAIN_SECRET"}.get(where, "") in fault.remedy


def test_the_secret_is_taken_from_the_file_that_was_made_for_asterisk(tmp_path: Path) -> None:
    (tmp_path / "manager_takeover_secret.conf").write_text("secret=deadbeef\n")
    text = "pbx: {main: {kind: asterisk, username: t, secret_file: manager_takeover_secret.conf}}"
    secret = parse(text, folder=tmp_path, variables={}).pbx["main"].secret
    assert secret is not None
    assert secret.get_secret_value() == "deadbeef"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file: null is not accepted; it must hold a map of settings; see takeover.example.yaml"),
        (PBX + "ais: {bod: {hears: false}}", 'ais.bod: "bod" is not accepted; no rule of pbx.*.ais is called so'),
        (PBX + "media: {audiosocket_host: 1 2}", 'media.audiosocket_host: "1 2" is not accepted; give a host name'),
        (PBX + "media: {pbx_addresses: 10.0.0.1}", 'media.pbx_addresses: "10.0.0.1" is not accepted; give a list'),
        (PBX + "instance: 2026-01-01", "instance: datetime.date(2026, 1, 1) is not accepted; give a text, in quotes"),
    ],
)
def test_what_is_easily_written_wrongly_is_said_in_plain_words(text: str, said: str) -> None:
    with pytest.raises(SettingsError) as raised:
        parse(text)
    assert said in str(raised.value)


@pytest.mark.parametrize("host", ["pbx..example.com", ".", f"{'a' * 64}.example.com"])
def test_a_name_that_no_resolver_takes_is_refused_and_does_not_end_the_service(host: str) -> None:
    text = f'pbx: {{main: {{kind: asterisk, username: t, secret: s, host: "{host}"}}}}'
    with pytest.raises(SettingsError, match=r"pbx.main.host: .* parts between the dots have 1 to 63 characters"):
        parse(text)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("https://t.example.com:443/", "https://t.example.com"),
        ("http://t.example.com:80", "http://t.example.com"),
        ("https://T.Example.com:8443", "https://t.example.com:8443"),
        ("https://b\u00fccher.example", "https://xn--bcher-kva.example"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
    ],
)
def test_the_public_address_is_compared_as_browsers_write_it(given: str, meant: str) -> None:
    assert parse(PBX + f"http: {{public_url: '{given}'}}", variables={}).http.public_url == meant
