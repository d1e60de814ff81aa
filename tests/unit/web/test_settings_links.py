"""Settings of webhooks and of the ladder: what one part says about another is there, and no address is a surprise."""

from pathlib import Path

import pytest

from web.settings import Settings, SettingsError, load, parse

PBX = "pbx: {main: {kind: asterisk, username: u, secret: s, destinations: {support: 'support,200,1'}}}\n"
SECRET = "0123456789abcdef01234567"


def faults(text: str, **variables: str) -> dict[str, str]:
    """What is wrong with it, by field."""
    with pytest.raises(SettingsError) as error:
        parse(PBX + text, variables=variables)
    assert SECRET not in str(error.value)
    return {fault.field: fault.remedy for fault in error.value.faults}


def accepted(text: str, **variables: str) -> Settings:
    return parse(PBX + text, variables=variables)


def hook(url: str, more: str = "") -> str:
    return f'webhooks: {{bot: {{url: "{url}", secret: {SECRET}{more}}}}}\n'


@pytest.mark.parametrize(
    "url",
    [
        "https://bot.example.com/x",
        "http://127.0.0.1:8090/x",
        "http://[::1]/x",
        "http://10.1.2.3/x",
        "http://localhost/x",
    ],
)
def test_addresses_that_are_accepted(url: str) -> None:
    found = accepted(hook(url)).webhooks["bot"].url
    assert found is not None
    assert found.get_secret_value() == url


@pytest.mark.parametrize(
    "url",
    [
        "http://bot.example.com/x",
        "http://8.8.8.8/x",
        "http://localhost.example.com/x",
        "ftp://bot.example.com/x",
        "https://user:word@bot.example.com/x",
        "https://",
        "bot.example.com",
        "https://[::1/x",
        "https://bot..example.com/x",
        f"https://{'a' * 64}.example.com/x",
        "https://bot.example.com:99999/x",
    ],
)
def test_addresses_that_are_refused(url: str) -> None:
    assert list(faults(hook(url))) == ["webhooks.bot.url"]


def test_plain_http_to_anywhere_has_to_be_said() -> None:
    assert accepted(hook("http://bot.example.com/x", ", allow_http: true")).webhooks["bot"].allow_http


def test_secrets_and_addresses_come_from_files_and_the_environment_too(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET + "\n")
    (tmp_path / "takeover.yaml").write_text(PBX + "webhooks: {team-chat: {secret_file: secret}}\n")
    found = load(tmp_path / "takeover.yaml", {"TAKEOVER_WEBHOOK_TEAM_CHAT_URL": "https://x.example/y"})
    one = found.webhooks["team-chat"]
    assert one.url is not None
    assert one.secret is not None
    assert (one.url.get_secret_value(), one.secret.get_secret_value()) == ("https://x.example/y", SECRET)


def test_a_webhook_without_secret_or_with_a_short_one_is_refused() -> None:
    assert list(faults("webhooks: {bot: {url: 'https://x.example/'}}")) == ["webhooks.bot.secret"]
    assert "24" in faults("webhooks: {bot: {url: 'https://x.example/', secret: short}}")["webhooks.bot.secret"]
    assert (
        "slack"
        in faults(f"webhooks: {{c: {{url: 'https://x.example/', format: slack, secret: {SECRET}}}}}")[
            "webhooks.c.secret"
        ]
    )
    accepted("webhooks: {c: {url: 'https://x.example/', format: slack}}")


def test_a_step_names_only_what_there_is() -> None:
    found = faults("escalation: {ladder: [{after_s: 1, notify: [supervisors, nobody]}, {after_s: 2, transfer: moon}]}")
    assert list(found) == ["escalation.ladder.0.notify", "escalation.ladder.1.transfer"]
    assert "pbx.main.destinations" in found["escalation.ladder.1.transfer"]
    accepted("escalation: {ladder: [{after_s: 1, notify: [supervisors]}, {after_s: 2, transfer: support}]}")


def test_an_unknown_event_or_priority_is_refused() -> None:
    assert "webhooks.bot.events.0" in faults(hook("https://x.example/", ", events: [takeover.begun]"))
    assert "ais.bot.max_priority" in faults("ais: {bot: {max_priority: panic}}")
    assert "escalation.caller_digit" in faults("escalation: {caller_digit: '00'}")
