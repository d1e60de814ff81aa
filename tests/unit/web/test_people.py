"""Administrators manage people through the API: what they may, what it ends, and what the audit keeps."""

import asyncio
import json
from typing import Any

from connector.store.trail import Wanted
from tests.unit.web.house import PASSWORD, House, Visitor, until
from web.passwords import hash_secret

NEW = "another long password"


async def log_in(house: House, username: str, password: str) -> tuple[int, Visitor]:
    visitor = await house.visitor()
    return (await visitor.ask("POST", "session", {"username": username, "password": password})).status, visitor


async def test_a_new_person_logs_in_with_the_rights_that_were_given(house: House) -> None:
    root = await house.person("root", "admin")
    given = {"username": "Anna", "name": "Anna Berg", "role": "supervisor", "password": PASSWORD, "queues": ["sales"]}
    made = await root.ask("POST", "users", given)
    assert made.status == 201
    assert {name: made.body[name] for name in ("username", "name", "role", "queues", "tenants")} == {
        "username": "anna",
        "name": "Anna Berg",
        "role": "supervisor",
        "queues": ["sales"],
        "tenants": ["*"],
    }
    assert PASSWORD not in json.dumps(made.body)
    listed = (await root.ask("GET", "users")).body["users"]
    assert [one["username"] for one in listed] == ["anna", "root"]
    assert "password" not in json.dumps(listed)
    status, anna = await log_in(house, "anna", PASSWORD)
    assert status == 200
    assert (await anna.ask("GET", "session")).body["queues"] == ["sales"]
    again = await root.ask("POST", "users", given)
    assert (again.status, again.slug, again.body["field"]) == (400, "bad-request", "username")


async def test_whoever_is_changed_has_to_log_in_anew(house: House) -> None:
    root, anna = await house.person("root", "admin"), await house.person("anna")
    changed = await root.ask("PATCH", "users/anna", {"role": "supervisor", "tenants": ["acme"]})
    assert (changed.status, changed.body["role"], changed.body["tenants"]) == (200, "supervisor", ["acme"])
    assert changed.body["queues"] == ["*"]
    await house.guard.recheck()
    assert (await anna.ask("GET", "session")).status == 401


async def test_a_new_password_ends_the_sessions_of_the_old_one(house: House) -> None:
    root = await house.person("root", "admin")
    await house.account("anna")
    _, anna = await log_in(house, "anna", PASSWORD)
    assert (await root.ask("PUT", "users/anna/password", {"password": NEW})).status == 204
    await house.guard.recheck()
    assert (await anna.ask("GET", "session")).status == 401
    assert (await log_in(house, "anna", PASSWORD))[0] == 401
    assert (await log_in(house, "anna", NEW))[0] == 200


async def test_whoever_is_removed_is_out_of_the_call(house: House) -> None:
    root, anna = await house.person("root", "admin"), await house.person("anna")
    call, leg = house.call(), await anna.leg()
    assert (await anna.ask("POST", f"calls/{call}/engagements", {"mode": "takeover", "leg": leg})).status == 201
    assert (await root.ask("DELETE", "users/anna")).status == 204
    await house.guard.recheck()
    assert (await anna.ask("GET", "session")).status == 401
    await until(lambda: ("release", call) in house.pbx.did)
    assert (await root.ask("DELETE", "users/anna")).status == 404


async def test_an_administrator_is_always_left(house: House) -> None:
    root = await house.person("root", "admin")
    tries: list[tuple[str, Any]] = [("DELETE", None), ("PATCH", {"role": "agent"}), ("PATCH", {"queues": ["sales"]})]
    for method, body in tries:
        refused = await root.ask(method, "users/ROOT", body)
        assert (refused.status, refused.slug) == (403, "not-allowed")
        assert "This is you" in refused.body["detail"]
    assert (await root.ask("PUT", "users/root/password", {"password": NEW})).status == 204  # but one's own password


async def test_two_administrators_who_remove_each_other_at_once_leave_one(house: House) -> None:
    root, anna = await house.person("root", "admin"), await house.person("anna", "admin")
    answers = await asyncio.gather(root.ask("DELETE", "users/anna"), anna.ask("PATCH", "users/root", {"role": "agent"}))
    refused = max(answers, key=lambda one: one.status)
    assert sorted(one.status for one in answers) in ([200, 409], [204, 409])
    assert (refused.slug, refused.body["username"] in ("root", "anna")) == ("last-administrator", True)
    assert [one.role for one in await house.store.accounts.list()].count("admin") == 1


async def test_ones_own_password_is_changed_and_only_ones_other_sessions_end(house: House) -> None:
    await house.account("anna")
    ben = await house.person("ben")
    (_, office), (_, home) = [await log_in(house, "anna", PASSWORD) for _ in range(2)]
    call, leg = house.call(), await office.leg()
    assert (await office.ask("POST", f"calls/{call}/engagements", {"mode": "takeover", "leg": leg})).status == 201
    assert (await office.ask("PUT", "session/password", {"old_password": PASSWORD, "new_password": NEW})).status == 204
    await house.guard.recheck()
    assert [(await one.ask("GET", "session")).status for one in (office, home, ben)] == [200, 401, 200]
    assert [one.agent_name for one in house.registry.engagements()] == ["Anna"]  # she goes on speaking
    assert (await log_in(house, "anna", PASSWORD))[0] == 401
    assert (await log_in(house, "anna", NEW))[0] == 200
    (account,) = [one for one in await house.store.accounts.list() if one.username == "anna"]
    (act,) = await house.store.audit.acts(Wanted(act="change-password"))
    assert (act.actor, act.result, act.facts) == (account.id, "ok", {"address": "127.0.0.1"})


async def test_after_a_restart_no_session_of_the_old_password_comes_back(house: House) -> None:
    await house.account("anna")
    (_, office), (_, home) = [await log_in(house, "anna", PASSWORD) for _ in range(2)]
    assert (await office.ask("PUT", "session/password", {"old_password": PASSWORD, "new_password": NEW})).status == 204
    kept = [one for one in (office, home) if await house.store.sessions.get(hash_secret(cookie(one, house)))]
    assert kept == [office]


async def test_a_wrong_old_password_changes_nothing_and_is_throttled_as_a_log_in_is(house: House) -> None:
    await house.account("anna")
    _, anna = await log_in(house, "anna", PASSWORD)
    for _ in range(5):
        answer = await anna.ask("PUT", "session/password", {"old_password": "guess", "new_password": NEW})
        assert (answer.status, answer.slug) == (403, "wrong-password")
    for body in ({"old_password": PASSWORD, "new_password": NEW}, {"old_password": "guess", "new_password": NEW}):
        answer = await anna.ask("PUT", "session/password", body)
        assert (answer.status, answer.slug, answer.headers["Retry-After"]) == (429, "too-many-attempts", "1")
    assert (await log_in(house, "anna", PASSWORD))[0] == 429  # the same guesses
    house.now += 1
    assert (await anna.ask("PUT", "session/password", {"old_password": PASSWORD, "new_password": NEW})).status == 204
    assert (
        await anna.ask("PUT", "session/password", {"old_password": "guess", "new_password": NEW})
    ).status == 403  # counted anew
    acts = await house.store.audit.acts(Wanted(act="change-password"))
    assert [one.result for one in acts] == ["wrong-password", "ok", *["wrong-password"] * 5]
    assert not {PASSWORD, NEW, "guess"} & {value for one in acts for value in one.facts.values()}


async def test_what_is_no_new_password_is_refused_and_a_token_has_none(house: House) -> None:
    await house.account("anna")
    _, anna = await log_in(house, "anna", PASSWORD)
    for body, field in (
        ({"old_password": PASSWORD, "new_password": "short"}, "new_password"),
        ({"old_password": PASSWORD, "new_password": "x" * 257}, "new_password"),
        ({"new_password": NEW}, "old_password"),
        ({"old_password": PASSWORD, "new_password": NEW, "username": "root"}, "username"),
    ):
        answer = await anna.ask("PUT", "session/password", body)
        assert (answer.status, answer.body["field"]) == (400, field), body
        assert "short" not in json.dumps(answer.body)
    machine = await house.machine("robot", "agent")
    assert (
        await machine.ask("PUT", "session/password", {"old_password": PASSWORD, "new_password": NEW})
    ).slug == "not-allowed"
    stranger = await house.visitor()
    assert (
        await stranger.ask("PUT", "session/password", {"old_password": PASSWORD, "new_password": NEW})
    ).slug == "not-logged-in"


async def test_the_session_that_changes_the_password_never_looks_like_an_old_one(house: House) -> None:
    await house.account("anna")
    _, anna = await log_in(house, "anna", PASSWORD)
    old, new = PASSWORD, NEW
    for _ in range(5):
        changing = asyncio.create_task(anna.ask("PUT", "session/password", {"old_password": old, "new_password": new}))
        while not changing.done():
            await house.guard.recheck()
        assert (await changing).status == 204
        old, new = new, old
    assert (await anna.ask("GET", "session")).status == 200


def cookie(visitor: Visitor, house: House) -> str:
    """The secret of a session."""
    (found,) = [one.value for one in visitor.client.cookie_jar if one.key == house.site.cookie]
    return found


async def test_what_cannot_be_is_refused_with_the_remedy(house: House) -> None:
    root = await house.person("root", "admin")
    await house.account("anna")
    for path, method, body, field in (
        ("users", "POST", {"username": "a b", "password": PASSWORD}, "username"),
        ("users", "POST", {"username": "ben", "password": "short"}, "password"),
        ("users", "POST", {"username": "ben", "password": PASSWORD, "role": "ai"}, "role"),
        ("users", "POST", {"username": "ben", "password": PASSWORD, "queues": []}, "queues"),
        ("users", "POST", {"username": "ben", "password": PASSWORD, "tenants": ["a\nb"]}, "tenants.0"),
        ("users/anna", "PATCH", {}, ""),
        ("users/anna", "PATCH", {"password": PASSWORD}, "password"),
        ("users/anna/password", "PUT", {"password": "x" * 257}, "password"),
    ):
        answer = await root.ask(method, path, body)
        assert (answer.status, answer.body["field"]) == (400, field), body
        assert "short" not in json.dumps(answer.body)
    strangers: list[tuple[str, str, Any]] = [
        ("users/nobody", "PATCH", {"role": "agent"}),
        ("users/nobody/password", "PUT", {"password": PASSWORD}),
        ("users/nobody", "DELETE", None),
    ]
    for path, method, body in strangers:
        assert (await root.ask(method, path, body)).status == 404


async def test_every_change_is_in_the_audit_without_a_password(house: House) -> None:
    root = await house.person("root", "admin")
    await root.ask("POST", "users", {"username": "anna", "password": PASSWORD, "queues": ["sales", "support"]})
    await root.ask("PATCH", "users/anna", {"role": "supervisor"})
    await root.ask("PUT", "users/anna/password", {"password": NEW})
    await root.ask("DELETE", "users/root")
    await root.ask("DELETE", "users/anna")
    acts = [one for one in reversed(await house.store.audit.acts(Wanted())) if "user" in one.act or "set-" in one.act]
    assert [(one.act, one.result, one.facts["name"]) for one in acts] == [
        ("add-user", "ok", "anna"),
        ("change-user", "ok", "anna"),
        ("set-password", "ok", "anna"),
        ("remove-user", "not-allowed", "root"),
        ("remove-user", "ok", "anna"),
    ]
    assert (acts[0].facts["queues"], acts[1].facts["role"]) == ("sales,support", "supervisor")
    assert PASSWORD not in str(acts)
    assert NEW not in str(acts)
