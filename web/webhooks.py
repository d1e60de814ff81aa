"""From the registry's notices to the webhooks of the settings."""

import uuid

from connector.ailink import Event, Hook, Links
from connector.ports import EventKeeper, Journal
from connector.services.changes import AiNotice, Change
from connector.services.registry import Registry

from .metrics import Labels, Sample
from .settings import Settings, Webhook

ALL = frozenset(
    {
        "takeover.started",
        "takeover.ended",
        "coach",
        "escalation.raised",
        "escalation.step",
        "escalation.answered",
        "escalation.withdrawn",
        "escalation.ended",
    }
)
FOR_CHATS = frozenset({"escalation.raised", "escalation.step", "escalation.answered"})


def links(settings: Settings, registry: Registry, keeper: EventKeeper, journal: Journal) -> Links:
    """The webhooks, told of every notice from now on; `run` has to be run."""
    hooks = [_hook(name, one) for name, one in settings.webhooks.items()]
    found = Links(hooks, keeper, journal, panel=settings.http.public_url or "")

    def tell(change: Change) -> None:
        if isinstance(change, AiNotice):
            data = dict(change.data)
            id_ = change.id or uuid.uuid4().hex
            event = Event(id_, change.kind, change.call_id, change.ai_name, data, change.notify)
            found.send(event)

    registry.watch(tell)
    return found


def samples(links_: Links) -> list[Sample]:
    """What `/metrics` shows of the webhooks."""
    events: dict[Labels, float] = {}
    waiting: dict[Labels, float] = {}
    for name, counts in links_.counts.items():
        for what in ("delivered", "refused", "given_up", "dropped"):
            events[("hook", name), ("what", what)] = getattr(counts, what)
        waiting[(("hook", name),)] = links_.waiting(name)
    return [
        Sample("takeover_webhook_events_total", "Events for webhooks, and what became of them", "counter", events),
        Sample("takeover_webhook_waiting", "Events that wait for their webhook", "gauge", waiting),
    ]


def _hook(name: str, one: Webhook) -> Hook:
    chat = one.format == "slack"
    kinds = frozenset(one.events) if one.events is not None else FOR_CHATS if chat else ALL
    url = one.url.get_secret_value() if one.url is not None else ""
    secret = one.secret.get_secret_value() if one.secret is not None else ""
    return Hook(name, url, secret, chat, one.ai or "", kinds)
