"""Callers who do not speak as the agent's leg does: FreeSWITCH transcodes, wherever the AI is, and nobody hears it."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.support.freeswitch import CONFIG, NEEDED, FsCall, Instance, Topology, home
from tests.support.g722_codec import g722
from tests.support.opus_codec import opus

from .test_who_hears_whom import a_call, tour

pytestmark = pytest.mark.timeout(90)

G722_MODULE = "mod_spandsp"


@pytest.fixture(scope="module")
def wideband() -> Iterator[Instance]:
    """A FreeSWITCH that offers G.722 too; skips where it has no module for it."""
    prefix = home()
    if prefix is None:
        pytest.skip(NEEDED)
    if not list(prefix.glob(f"lib*/**/{G722_MODULE}.so")):
        pytest.skip(f"the FreeSWITCH that FREESWITCH_HOME names has no {G722_MODULE}, so no G.722")
    config = replace(CONFIG, modules=(*CONFIG.modules, G722_MODULE), codecs=f"{CONFIG.codecs},G722")
    with Instance(prefix, config) as instance:
        yield instance


def spoken(call: FsCall) -> set[int]:
    """The payload types that the caller was sent."""
    return {packet.payload_type for packet in call.caller.media.packets}


@pytest.mark.parametrize("topology", ["T2", "T3", "T4"])
async def test_opus_wherever_the_ai_is(freeswitch: Instance, topology: Topology) -> None:
    async with a_call(freeswitch, topology, codec=opus) as (lab, pbx, made, call):
        await tour(lab, pbx, made, call)
        assert spoken(made) == {opus().payload_type}


@pytest.mark.parametrize("topology", ["T1", "T2"])
async def test_g722_with_an_ai_elsewhere_and_on_his_own_channel(wideband: Instance, topology: Topology) -> None:
    async with a_call(wideband, topology, codec=g722) as (lab, pbx, made, call):
        await tour(lab, pbx, made, call)
        assert spoken(made) == {g722().payload_type}
