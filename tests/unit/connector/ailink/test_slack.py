"""Sentences for chat rooms: what others wrote is shown and does nothing."""

import pytest

from connector.ailink.slack import escaped, message


@pytest.mark.parametrize(
    "text",
    [
        "<!channel> <@U123> <https://evil.example|your bank>",
        "@channel @all @here",
        "[your bank](https://evil.example)",
        "*loud* _slanted_ `code` ~gone~ ![x](http://evil.example/y.png)",
        "https://evil.example www.evil.example",
        "a\u202eb\x07c\u2028d\u200be",
    ],
)
def test_no_markup_of_others_works(text: str) -> None:
    shown = escaped(text)
    for live in ("<", ">", "@c", "@a", "@h", "](", "://e", "www.e", "*l", "_s", "`c", "~g", "\u202e", "\x07", "\u2028"):
        assert live not in shown
    assert len(shown) < 400


def test_an_escalation_is_one_sentence_with_our_own_link() -> None:
    data = {"priority": "urgent", "by": "bot", "queue": "claims", "reason": "wants <b>you</b>", "step": 0}
    body = message("escalation.raised", "Ada", data, "https://panel.example")
    assert body == {
        "text": "urgent: bot asks for a person in the queue claims: wants &lt;b&gt;you&lt;/b&gt;\n"
        "<https://panel.example|Open the panel>"
    }
    assert message("escalation.answered", "Ada", {"agent": "Anna"}, "")["text"] == (
        "Anna has answered the call in the queue \u200b(none)\u200b.".replace("\u200b", "")
    )


@pytest.mark.parametrize("kind", ["takeover.started", "takeover.ended", "coach", "escalation.step", "escalation.ended"])
def test_every_kind_has_a_sentence(kind: str) -> None:
    assert message(kind, "Ada", {}, "")["text"]
