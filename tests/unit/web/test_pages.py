"""The panel's files: what is served, how large, and how caches are told."""

import re

from tests.unit.web.house import House
from web import pages

BUDGET = 200_000
"""Bytes that the first page may transfer."""


async def test_strangers_are_sent_to_the_log_in_page(house: House) -> None:
    visitor = await house.visitor()
    answer = await visitor.ask("GET", "/")
    assert (answer.status, answer.headers["Location"]) == (303, "/login")
    assert (await visitor.ask("GET", "/login")).status == 200
    anna = await house.person("anna")
    assert (await anna.ask("GET", "/")).status == 200


async def test_an_unchanged_file_is_not_sent_again(house: House) -> None:
    visitor = await house.visitor()
    first = await visitor.ask("GET", "/static/app.js")
    assert first.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert first.headers["Cache-Control"] == "no-cache"
    again = await visitor.ask("GET", "/static/app.js", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.body) == (304, "")


async def test_text_is_packed_for_those_who_take_it(house: House) -> None:
    visitor = await house.visitor()
    packed = await visitor.ask("GET", "/static/app.js")
    plain = await visitor.ask("GET", "/static/app.js", headers={"Accept-Encoding": "identity"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert packed.body == plain.body


def test_the_first_page_is_small() -> None:
    """Everything that the index names, and what its modules import, packed as it goes over the wire."""
    files = pages.load(pages.STATIC)
    wanted, seen = ["index.html"], set[str]()
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        if name.endswith((".html", ".js", ".css")):
            text = files[name].body.decode()
            folder = name.rpartition("/")[0]
            links = re.findall(r'(?:src|href)="/static/([^"#]+)', text)
            imports = re.findall(r'(?:from|import) "(\.[^"]+)"', text)
            wanted += [*links, *(resolved(folder, one) for one in imports)]
    sizes = {name: len(files[name].packed or files[name].body) for name in seen}
    assert sum(sizes.values()) < BUDGET, sizes
    assert len(seen) > 5


def resolved(folder: str, path: str) -> str:
    parts = folder.split("/") if folder else []
    for part in path.split("/"):
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def test_every_file_that_a_page_names_is_there() -> None:
    files = pages.load(pages.STATIC)
    for name in ("index.html", "login.html"):
        for link in re.findall(r'(?:src|href)="/static/([^"#]+)', files[name].body.decode()):
            assert link in files, link
