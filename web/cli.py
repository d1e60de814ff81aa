"""The command line: ``takeover COMMAND``; `_parser` has them all.

Exit codes: 0 done, 1 not done, 2 the settings or the arguments are wrong. With ``--json``, one JSON object on stdout.
"""

import argparse
import asyncio
import json
import os
import pwd
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from connector.adapter.tables import NAMELESS_AI
from connector.domain.errors import BadValue, StoreUnavailable
from connector.store import Store

from . import logs, stores
from .commands import audit, people
from .commands.backup import backup
from .commands.check import check
from .commands.denoise import denoise
from .commands.dialplan import dialplan
from .commands.outcome import CommandFailed, Outcome
from .keyfile import KeyUnusable
from .settings import DEFAULT_PATH, Settings, SettingsError, load
from .version import version

log = structlog.get_logger()

Act = Callable[[Store, argparse.Namespace], Awaitable[Outcome]]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["demo"]:  # has options of its own
        from .demo.run import main as demo

        return demo(arguments[1:])
    options = _parser().parse_args(arguments)
    try:
        outcome = _run(options)
    except SettingsError as error:
        faults = [{"field": one.field, "value": one.value, "remedy": one.remedy} for one in error.faults]
        return _say(Outcome([str(error)], {"ok": False, "source": error.source, "faults": faults}, code=2), options)
    except (CommandFailed, KeyUnusable, BadValue, StoreUnavailable) as error:
        return _say(Outcome([str(error)], {"ok": False, "why": str(error)}, code=1), options)
    except KeyboardInterrupt:
        return 130
    return _say(outcome, options) if outcome is not None else 0


def _run(options: argparse.Namespace) -> Outcome | None:
    match options.command:
        case "denoise":
            return denoise(options)
        case "dialplan":
            return dialplan(options)
        case "check":
            return check(load(options.config))
        case "doctor":
            return _doctor(load(options.config), options)
        case "calls":
            return _calls(load(options.config), options)
        case "serve":
            return _serve(load(options.config))
    os.umask(0o077)  # the store holds hashes and transcripts, whatever the folder's own rights are
    if options.command == "backup":
        settings = load(options.config)
        _as_its_owner(settings)
        return backup(settings, options.folder)
    acts: dict[str, Act] = {"user": people.user, "token": people.token, "audit": audit.verify}
    settings = load(options.config)
    return _noted(asyncio.run(_with_store(settings, acts[options.command], options)), settings, options)


def _noted(outcome: Outcome, settings: Settings, options: argparse.Namespace) -> Outcome:
    """With a word on an AI's token that will see nothing; the rule may be about to come."""
    ai = getattr(options, "ai", None)
    known = {rule.name for pbx in settings.pbx.values() for rule in pbx.ais} | {NAMELESS_AI}
    if not ai or ai in known:
        return outcome
    note = f"Note: no rule of pbx.*.ais is called {ai!r}, so it will see no call; known are {', '.join(sorted(known))}."
    return replace(outcome, lines=[*outcome.lines, note])


def _doctor(settings: Settings, options: argparse.Namespace) -> Outcome:
    from .commands.doctor import dialling, doctor  # the PBXs' clients take a while to load

    logs.configure(form="console", level="error")
    if options.call or options.context or options.pbx:
        try:
            return doctor(settings, call=dialling(settings, options.call or "", options.context, options.pbx))
        except BadValue as error:
            return Outcome([str(error)], {"ok": False, "why": str(error)}, code=2)
    return doctor(settings, call=options.call is not None)


def _calls(settings: Settings, options: argparse.Namespace) -> Outcome:
    from .commands.calls import calls  # the HTTP client takes a while to load

    return calls(settings, options)


def _serve(settings: Settings) -> Outcome | None:
    from .main import StartFailed, serve

    os.umask(0o077)
    logs.configure(form=settings.log.format, level=settings.log.level, pii=settings.log.pii, waits=False)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(serve(settings))
    except StartFailed as error:
        raise CommandFailed(str(error)) from None
    except Exception as error:  # said in the log's own form, with its trace; the service manager starts us again
        log.exception("service-failed")
        raise CommandFailed(f"The service failed: {error or type(error).__name__}; its log has the trace") from None
    return None


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed (the extra ``fast``)."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def _with_store(settings: Settings, act: Act, options: argparse.Namespace) -> Outcome:
    logs.configure(form="console", level="error")
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise CommandFailed(f"data_dir: {str(settings.data_dir)!r} cannot be made ({error.strerror})") from None
    _as_its_owner(settings)
    async with stores.opened(settings, command=True) as store:
        return await act(store, options)


def _as_its_owner(settings: Settings) -> None:
    """Refuses what root would make in the service's folder: the service could not read it."""
    folder = settings.data_dir
    owner = folder.stat().st_uid if folder.exists() else 0
    if os.geteuid() == 0 and owner != 0:
        name = _user_name(owner)
        remedy = f"run this as that user: sudo -u {name} {sys.argv[0]}"
        raise CommandFailed(f"data_dir: {str(folder)!r} belongs to {name}; {remedy}")


def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"'#{number}'"  # as sudo takes it


def _say(outcome: Outcome, options: argparse.Namespace) -> int:
    try:
        if options.json:
            print(json.dumps(outcome.facts))
        else:
            print("\n".join(outcome.lines), file=sys.stderr if outcome.code else sys.stdout)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left, Python writes at its end
    return outcome.code


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    default = Path(os.environ.get("TAKEOVER_CONFIG", str(DEFAULT_PATH)))
    common.add_argument("--config", type=Path, default=default, help="settings file (or TAKEOVER_CONFIG); %(default)s")
    common.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser = argparse.ArgumentParser(prog="takeover", description="Take over a live AI call, and give it back.")
    parser.add_argument("--version", action="version", version=f"takeover {version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("serve", parents=[common], help="run the service")
    commands.add_parser("check", parents=[common], help="check the settings")
    look = commands.add_parser("doctor", parents=[common], help="connect to every PBX, and say what is missing there")
    look.add_argument(
        "--call",
        nargs="?",
        const="",
        metavar="NUMBER",
        help="and take over a test call of tones on each, nobody's, 5 s; a number: call that, through your dialplan",
    )
    look.add_argument("--context", help="with a number: the context in which your callers come in")
    look.add_argument("--pbx", metavar="NAME", help="with a number: on this PBX, where the settings have several")
    live = commands.add_parser("calls", parents=[common], help="what is live now, as the running service sees it")
    live.add_argument(
        "--token-file", type=Path, metavar="FILE", help="an API token, alone in a file (or TAKEOVER_TOKEN)"
    )
    commands.add_parser("demo", help="an Asterisk, callers and AIs of our own, and the panel")
    _user(commands.add_parser("user", help="people who may log in"), common)
    _token(commands.add_parser("token", help="machines that may use the API"), common)
    sound = commands.add_parser(
        "denoise", parents=[common], help="the voice chain on a recording, to hear what it does"
    )
    sound.add_argument("input", type=Path, metavar="IN.wav", help="16-bit PCM, any rate, mono or stereo")
    sound.add_argument("output", type=Path, metavar="OUT.wav", help="16 kHz mono; replaced if it exists")
    plan = commands.add_parser("dialplan", parents=[common], help="the PBX's include files: print, install, remove")
    plan.add_argument("--for", dest="kind", choices=["asterisk", "freeswitch"], required=True)
    where = plan.add_mutually_exclusive_group()
    where.add_argument("--install", type=Path, metavar="DIR", help="into the PBX's configuration folder")
    where.add_argument("--remove", type=Path, metavar="DIR", help="out of it again")
    acts = commands.add_parser("audit", help="the record of all acts").add_subparsers(
        dest="act", required=True, metavar="ACT"
    )
    verify = acts.add_parser("verify", parents=[common], help="whether it is whole")
    verify.add_argument(
        "--head", metavar="NUMBER:MAC", help="an audit.head from the log: shows a tail that was cut off"
    )
    copy = commands.add_parser("backup", parents=[common], help="a copy of all that is kept, also while it runs")
    copy.add_argument("folder", type=Path, metavar="FOLDER", help="is made; must be empty")
    return parser


def _user(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")
    add = acts.add_parser("add", parents=[common], help="a new person")
    add.add_argument("name")
    add.add_argument("--role", choices=["agent", "supervisor", "admin"], default="agent")
    add.add_argument("--full-name", help="as colleagues see it")
    add.add_argument("--queue", action="append", help="a queue whose calls they see; may be repeated; all if none")
    add.add_argument("--tenant", action="append", help="a tenant whose calls they see; may be repeated; all if none")
    change = acts.add_parser("change", parents=[common], help="another role, other queues or tenants")
    change.add_argument("name")
    change.add_argument("--role", choices=["agent", "supervisor", "admin"])
    change.add_argument("--queue", action="append", help="instead of those they have; '*' for all")
    change.add_argument("--tenant", action="append", help="instead of those they have; '*' for all")
    password = acts.add_parser("password", parents=[common], help="a new password; ends the sessions of the old one")
    password.add_argument("name")
    for one in (add, password):
        one.add_argument("--password-stdin", action="store_true", help="read it from standard input")
    acts.add_parser("list", parents=[common], help="who they are, and what they see")
    remove = acts.add_parser("remove", parents=[common], help="ends their sessions too")
    remove.add_argument("name")


def _token(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")
    add = acts.add_parser("add", parents=[common], help="a new token, printed once")
    add.add_argument("--name", required=True)
    add.add_argument("--role", choices=["ai", "agent", "supervisor", "admin", "metrics"], required=True)
    add.add_argument("--ai", help="with role ai: the AI's name, as in pbx.*.ais")
    add.add_argument("--queue", action="append", help="a queue whose calls it reaches; may be repeated; all if none")
    add.add_argument("--tenant", action="append", help="a tenant whose calls it reaches; may be repeated; all if none")
    acts.add_parser("list", parents=[common], help="what they are for, not what they are")
    revoke = acts.add_parser("revoke", parents=[common], help="for ever; calls of its holder go back to the AI")
    revoke.add_argument("name")


if __name__ == "__main__":
    sys.exit(main())
