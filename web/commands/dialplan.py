"""``takeover dialplan``: prints, installs or removes the PBX's include files. The admin's files get one marked line."""

import os
import secrets
import sysconfig
from argparse import Namespace
from collections.abc import Iterable, Sequence
from pathlib import Path

from .outcome import CommandFailed, Outcome

MARK = "; the next line was added by: takeover dialplan --install"
SECRET = "manager_takeover_secret.conf"  # noqa: S105 - a file's name
INCLUDED_FROM = {"extensions_takeover.conf": "extensions.conf", "manager_takeover.conf": "manager.conf"}
"""Our file: the administrator's file that includes it."""
FREESWITCH = "takeover.xml"
"""Our only file there; FreeSWITCH's own configuration includes every file of its folder."""
RELOAD_FREESWITCH = ("fs_cli -x reloadxml",)
RELOAD = ('asterisk -rx "dialplan reload"', 'asterisk -rx "manager reload"')


def dialplan(options: Namespace) -> Outcome:
    """What ``--install DIR`` or ``--remove DIR`` did, or the files themselves. Raises `CommandFailed`."""
    if options.kind == "freeswitch":
        return _freeswitch(options)
    files = _ours("asterisk", INCLUDED_FROM)
    try:
        if options.install is not None:
            return _install(files, options.install)
        if options.remove is not None:
            return _remove(files, options.remove)
    except OSError as error:
        raise CommandFailed(f"{error.filename}: {error.strerror}; run this as the user who owns that folder") from None
    lines = [line for name, text in files.items() for line in (f";;;; {name}", *text.splitlines(), "")]
    return Outcome(lines, {"files": files})


def _freeswitch(options: Namespace) -> Outcome:
    """The same for FreeSWITCH, where one file goes into a folder and no file of the administrator's is touched."""
    files = _ours("freeswitch", (FREESWITCH,))
    folder: Path | None = options.install or options.remove
    if folder is None:
        return Outcome(files[FREESWITCH].splitlines(), {"files": files})
    path = folder / "dialplan" / FREESWITCH
    try:
        main = folder / "freeswitch.xml"
        if not main.is_file() or not path.parent.is_dir():
            option = "--install" if options.install else "--remove"
            raise CommandFailed(
                f"{option}: {str(folder)!r} has no freeswitch.xml or no dialplan folder; "
                "name the folder of FreeSWITCH's own configuration, like /etc/freeswitch"
            )
        if options.remove is not None:
            if not path.exists():
                return _said([], "Nothing of Takeover was there.")
            path.unlink()
            return _said([f"removed {path}"], "", RELOAD_FREESWITCH)
        if path.exists() and path.read_text(encoding="utf-8") == files[FREESWITCH]:
            return _said([], "Installed already; nothing was changed.")
        _write(path, files[FREESWITCH], like=main)
        done = [f"wrote {path}"]
        if "dialplan/*.xml" not in main.read_text(encoding="utf-8", errors="replace"):
            done.append(f"{main} does not include dialplan/*.xml: include {path} in its section dialplan yourself")
        return _said(done, "", RELOAD_FREESWITCH)
    except OSError as error:
        raise CommandFailed(f"{error.filename}: {error.strerror}; run this as the user who owns that folder") from None


def _ours(kind: str, names: Iterable[str]) -> dict[str, str]:
    """Our files for one kind of PBX, from the checkout or from where the package put them."""
    names = tuple(names)
    places = [
        Path(__file__).parents[2] / "dialplan" / kind,
        Path(sysconfig.get_path("data")) / "share" / "takeover" / "dialplan" / kind,
    ]
    for place in places:
        if all((place / name).is_file() for name in names):
            return {name: (place / name).read_text(encoding="utf-8") for name in names}
    tried = " and ".join(str(place) for place in places)
    raise CommandFailed(f"The dialplan files are missing; looked in {tried}. Install the package again")


def _install(files: dict[str, str], folder: Path) -> Outcome:
    for name in INCLUDED_FROM.values():
        if not (folder / name).is_file():
            raise CommandFailed(
                f"--install: {str(folder)!r} has no {name}; name the folder of Asterisk's own configuration"
            )
    done: list[str] = []
    if not (folder / SECRET).exists():
        _write(folder / SECRET, f"secret={secrets.token_hex(24)}\n", like=folder / "manager.conf", mode=0o640)
        done.append(f"made {folder / SECRET}: put its secret into pbx.*.secret of Takeover's settings")
    for name, text in files.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            _write(path, text, like=folder / INCLUDED_FROM[name])
            done.append(f"wrote {path}")
        including = folder / INCLUDED_FROM[name]
        lines = including.read_text(encoding="utf-8").splitlines()
        if not any(_includes(line, name) for line in lines):
            _write(including, "\n".join([*lines, MARK, f"#include {name}", ""]), like=including)
            done.append(f"added one line to {including}: #include {name}")
    return _said(done, "Installed already; nothing was changed.")


def _remove(files: dict[str, str], folder: Path) -> Outcome:
    done: list[str] = []
    kept: list[str] = []
    for name in files:
        including = folder / INCLUDED_FROM[name]
        if including.exists():
            lines = including.read_text(encoding="utf-8").splitlines()
            left = _without_marked(lines, name)
            if left != lines:
                _write(including, "\n".join([*left, ""]), like=including)
                done.append(f"took the line out of {including}: #include {name}")
            if any(_includes(line, name) for line in left):  # Asterisk refuses a file that includes a missing one
                kept.append(f"{including} includes {name} by a line of yours: take it out, then run this again")
                continue
        if (folder / name).exists():
            (folder / name).unlink()
            done.append(f"removed {folder / name}")
    if not kept and (folder / SECRET).exists():
        (folder / SECRET).unlink()
        done.append(f"removed {folder / SECRET}")
    outcome = _said(done, "Nothing of Takeover was there.")
    if not kept:
        return outcome
    return Outcome([*outcome.lines, *kept], {**outcome.facts, "kept": kept}, code=1)


def _said(done: list[str], otherwise: str, reload: Sequence[str] = RELOAD) -> Outcome:
    if not done:
        return Outcome([otherwise], {"done": [], "next": []})
    return Outcome([*done, "Now run:", *(f"  {line}" for line in reload)], {"done": done, "next": list(reload)})


def _includes(line: str, name: str) -> bool:
    words = line.split(";")[0].split()
    return len(words) == 2 and words[0] == "#include" and words[1].strip('"<>') == name


def _without_marked(lines: list[str], name: str) -> list[str]:
    left: list[str] = []
    for line in lines:
        if left and left[-1] == MARK and _includes(line, name):
            left.pop()
        else:
            left.append(line)
    return left


def _write(path: Path, text: str, *, like: Path, mode: int | None = None) -> None:
    """Replaces a file in one step, with the owner and, unless another is given, the mode of `like`."""
    model = like.stat()
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        if os.geteuid() == 0:
            os.chown(fresh, model.st_uid, model.st_gid)
        fresh.chmod(mode if mode is not None else model.st_mode & 0o777)
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
