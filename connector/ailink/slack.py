"""An event as one sentence for a chat room that takes Slack's incoming webhooks (Slack, Mattermost, Rocket.Chat).

What people and AIs wrote is shown as it is written: no mention, link or format of theirs works there.
"""

import re
from collections.abc import Mapping

_ENTITIES = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;"}
"""The three that Slack's own rules name: without ``<`` there is no ``<!channel>`` and no link under another name."""
_MARKS = re.compile(r"([@#*_~`|\[\]()!\\]|://|www\.)", re.IGNORECASE)
"""What Mattermost and others act on in plain text. A character without width behind it ends that."""
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_BREAK = "\u200b"
MAX_TEXT = 300

_SENTENCES = {
    "escalation.raised": "{priority}: {by} asks for a person in the queue {queue}: {reason}",
    "escalation.step": "{priority}: nobody has come yet in the queue {queue} (step {step}): {reason}",
    "escalation.answered": "{agent} has answered the call in the queue {queue}.",
    "escalation.withdrawn": "{by} needs no person any more in the queue {queue}.",
    "escalation.ended": "The caller in the queue {queue} left before anybody came: {reason}",
    "takeover.started": "{agent} has taken over a call of {ai}.",
    "takeover.ended": "{agent} has given a call back to {ai}.",
    "coach": "{by} has coached {ai}.",
}


def escaped(text: object) -> str:
    """Somebody's text, so that a chat tool shows it and does nothing else."""
    plain = _UNSEEN.sub(" ", str(text))[:MAX_TEXT]
    return _MARKS.sub(rf"\1{_BREAK}", plain).translate(_ENTITIES)


def message(kind: str, ai: str, data: Mapping[str, object], panel: str) -> dict[str, str]:
    """The body to be posted; `panel` is the panel's address, empty where it is unknown."""
    fields = {key: escaped(value) for key, value in data.items()}
    fields["ai"] = escaped(ai)
    fields["queue"] = fields.get("queue") or "(none)"
    text = _SENTENCES[kind].format_map(_Known(fields))
    return {"text": f"{text}\n<{panel}|Open the panel>" if panel else text}


class _Known(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "?"
