"""Real voices and noises to judge the voice chain by: fetched from Debian, never committed, never learnt from.

The folder is `$DENOISE_ROOT`, by default `~/.cache/takeover/denoise`. `fetch` unpacks the packages into its `x/`;
whatever is made of them (`tests.support.dev_set`) is the same samples on every machine.
The talkers `DEV` are not in `media.denoise.training.corpus`. Italian voices are left to others who judge.
"""

import hashlib
import os
import re
import subprocess
import sys
from functools import cache
from math import gcd
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import soundfile
from scipy.signal import resample_poly

FS = 16000
Sound = npt.NDArray[np.float32]

BOOKWORM = (
    *(f"asterisk-core-sounds-{language}-g722" for language in ("en", "es", "fr", "ru")),
    "asterisk-moh-opsound-g722",
    "bucklespring-data",
    "fillets-ng-data-cs",
)
TRIXIE = ("blanket",)
DEV = ("en", "es", "cs-v", "cs-m")
_PROMPTS = ("en", "es", "fr", "ru")


def root() -> Path:
    return Path(os.environ.get("DENOISE_ROOT", Path.home() / ".cache" / "takeover" / "denoise"))


def fetch() -> None:
    """Idempotent. Needs apt-get, dpkg-deb, gresource (libglib2.0-bin); raises CalledProcessError, FileNotFoundError."""
    if (root() / "x" / ".ready").exists():
        return
    debs = root() / "debs"
    debs.mkdir(parents=True, exist_ok=True)
    subprocess.run(["apt-get", "-qq", "download", *BOOKWORM], cwd=debs, check=True, stdout=sys.stderr)
    _fetch_trixie(debs)
    for deb in sorted(debs.glob("*.deb")):
        into = root() / "x" / deb.name.split("_")[0]
        into.mkdir(parents=True, exist_ok=True)
        subprocess.run(["dpkg-deb", "-x", deb, into], check=True)
    _extract_blanket()
    (root() / "x" / ".ready").touch()


def _fetch_trixie(debs: Path) -> None:
    """From the Debian mirror that this machine already uses, without touching its lists."""
    apt = root() / "apt"
    for folder in ("lists/partial", "cache/archives/partial"):
        (apt / folder).mkdir(parents=True, exist_ok=True)
    targets = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    uris = subprocess.run(targets, check=True, capture_output=True, text=True).stdout.split()
    mirror = next((uri for uri in uris if uri.rstrip("/").endswith("/debian")), None)
    if mirror is None:
        raise FileNotFoundError("no Debian mirror in apt's sources: the sounds are Debian packages")
    key = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (apt / "sources.list").write_text(f"deb [signed-by={key}] {mirror} trixie main\n", encoding="utf-8")
    options = {
        "Dir::Etc::sourcelist": apt / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": apt / "lists",
        "Dir::Cache": apt / "cache",
        "APT::Sandbox::User": "root",
    }
    get = ["apt-get", "-qq", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]
    subprocess.run([*get, "update"], check=True, stdout=sys.stderr)
    subprocess.run([*get, "download", *TRIXIE], cwd=debs, check=True, stdout=sys.stderr)


def _extract_blanket() -> None:
    bundle = root() / "x" / "blanket" / "usr" / "share" / "blanket" / "blanket.gresource"
    into = root() / "x" / "blanket_ogg"
    into.mkdir(exist_ok=True)
    names = subprocess.run(["gresource", "list", bundle], check=True, capture_output=True, text=True).stdout.split()
    for name in names:
        if name.endswith(".ogg"):
            sound = subprocess.run(["gresource", "extract", bundle, name], check=True, capture_output=True).stdout
            (into / Path(name).name).write_bytes(sound)


@cache
def read(path: Path) -> Sound:
    """Mono at 16 kHz."""
    if path.suffix == ".g722":
        with av.open(str(path), format="g722") as file:
            pieces = [frame.to_ndarray().ravel() for frame in file.decode(audio=0)]
        return np.concatenate([np.zeros(0, np.int16), *pieces]).astype(np.float32) / np.float32(32768)
    sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono: Sound = sound.mean(1)
    if rate != FS:
        common = gcd(rate, FS)
        mono = resample_poly(mono, FS // common, rate // common).astype(np.float32)
    return mono


def frames_db(sound: Sound, size: int = 160) -> npt.NDArray[np.float64]:
    count = len(sound) // size
    out: npt.NDArray[np.float64] = 10 * np.log10(np.mean(sound[: count * size].reshape(count, size) ** 2, 1) + 1e-10)
    return out


def active_rms(sound: Sound) -> float:
    """Of the 20 ms that are within 25 dB of the loud ones."""
    level = frames_db(sound, 320)
    active = np.repeat(level > np.percentile(level, 95) - 25, 320)
    return float(np.sqrt(np.mean(sound[: len(active)][active] ** 2)))


def number(text: str) -> int:
    """The same for a text on every machine."""
    return int(hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:8], 16)


def files(talker: str, part: str) -> list[Path]:
    """Of a talker: a language of the prompts, or a fish of the Czech game, its levels split by `part` (dev, train)."""
    if talker in _PROMPTS:
        folder = root() / "x" / f"asterisk-core-sounds-{talker}-g722"
        found = sorted(folder.rglob("*.g722"), key=str)
        found = [one for one in found if "/silence/" not in str(one) and one.stat().st_size > 8000]
        return [one for one in found if not re.search(r"(beep|tt-|ring|silence|monkey)", one.name)]
    language, who = talker.split("-")
    out = []
    for one in sorted((root() / "x" / f"fillets-ng-data-{language}").rglob("*.ogg"), key=str):
        match = re.match(r"[^-]+-([a-z]+)\d*-", one.name)
        voice = match.group(1) if match else "?"
        if ((who == "o" and voice not in ("m", "v", "?")) or voice == who) and (
            (number(one.name.split("-")[0]) % 10 < 3) == (part == "dev")
        ):
            out.append(one)
    return out


@cache
def utterance(path: Path) -> Sound | None:
    """Without the silence around it; None for what is short or has a noisy floor."""
    sound = read(path)
    if len(sound) <= FS * 0.7:
        return None
    level = frames_db(sound)
    loud = np.percentile(level, 95)
    if loud - np.percentile(level, 5) <= 28 or loud <= -40 or len(level) < 30:
        return None
    heard = np.flatnonzero(level > loud - 38)
    if len(heard) < 25:
        return None
    out = sound[max(heard[0] - 4, 0) * 160 : min(heard[-1] + 5, len(level)) * 160].copy()
    fade = np.linspace(0, 1, 160, dtype=np.float32)
    out[:160] *= fade
    out[-160:] *= fade[::-1]
    return out
