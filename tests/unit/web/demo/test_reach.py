"""What the demo says about where the browser may be."""

from pathlib import Path

import pytest

from web.demo.reach import NO_ADDRESS, Machine, advice, look

ADDRESS = ("192.0.2.7",)


def test_browser_and_demo_on_one_machine_need_no_advice() -> None:
    assert advice(Machine(ADDRESS), 8080) == []


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        (Machine(ADDRESS, ssh="192.0.2.1"), ("ssh -L 8080:localhost:8080", "192.0.2.7", "UDP")),
        (Machine(ADDRESS, kind="wsl"), ("WSL", "networkingMode=mirrored", "192.0.2.7")),
        (Machine(ADDRESS, kind="container"), ("container", "--network=host", "192.0.2.7")),
        (Machine(ADDRESS, kind="virtual machine"), ("virtual machine", "bridged", "192.0.2.7")),
    ],
)
def test_each_place_has_its_remedy(machine: Machine, words: tuple[str, ...]) -> None:
    (sentence,) = advice(machine, 8080)
    assert all(word in sentence for word in words)


def test_a_virtual_machine_reached_by_ssh_is_told_about_ssh_only() -> None:
    (sentence,) = advice(Machine(ADDRESS, ssh="192.0.2.1", kind="virtual machine"), 8080)
    assert "SSH" in sentence


def test_without_an_address_nothing_else_matters() -> None:
    assert advice(Machine((), ssh="192.0.2.1", kind="wsl"), 8080) == [NO_ADDRESS]


@pytest.mark.parametrize(
    ("file", "text", "environ", "kind"),
    [
        ("proc/sys/kernel/osrelease", "5.15.0-microsoft-standard-WSL2\n", {}, "wsl"),
        (".dockerenv", "", {}, "container"),
        ("run/.containerenv", "", {}, "container"),
        ("proc/cpuinfo", "flags\t\t: fpu hypervisor lahf_lm\n", {}, "virtual machine"),
        ("proc/cpuinfo", "flags\t\t: fpu lahf_lm\n", {}, ""),
        ("proc/cpuinfo", "", {"container": "lxc"}, "container"),
    ],
)
def test_the_kind_of_machine_is_read_off(
    tmp_path: Path, file: str, text: str, environ: dict[str, str], kind: str
) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    assert look(environ, tmp_path).kind == kind


def test_ssh_is_seen_with_the_address_it_came_to(tmp_path: Path) -> None:
    assert look({"SSH_CONNECTION": "198.51.100.1 5000 192.0.2.7 22"}, tmp_path).ssh == "192.0.2.7"
    assert look({"SSH_CONNECTION": ""}, tmp_path).ssh == ""
