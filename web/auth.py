"""Who is asking: sessions by cookie, machines by token, one-time links.

Sessions and tokens live in the store as hashes and, once seen, in memory, so that a request costs no thread hop. What
another process changes there (``takeover token revoke``) raises no event in this one: `Guard.watch` re-reads it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import structlog
from aiohttp import web

from connector.domain.errors import NotAllowed, StoreUnavailable
from connector.domain.people import Actor
from connector.store import Store
from connector.store.accounts import Account

from .errors import NotLoggedIn, TooManyAttempts, TooManyRequests, WrongPassword
from .passwords import hash_password, hash_secret, new_secret, password_fits
from .site import Site, neighbourhood
from .throttle import Attempts, Buckets

log = structlog.get_logger()

_RECHECK = 0.5
"""Seconds between two looks at what other processes changed: revocation is to act within one second."""
LINK = "one-time-link"
"""Whose attempts those are to log in by a link, which names nobody."""
_LINK_LIFE = 600.0
"""Seconds that a one-time log-in link is good for."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who proved who they are. `session` is the key that legs and sockets are bound to."""

    actor: Actor
    session: str
    by_cookie: bool
    expires: datetime | None
    password_hash: str = field(default="", repr=False)
    """The one that was valid at the log-in: a changed password ends the sessions of the old one."""


Ended = Callable[[Principal, str], Awaitable[None]]
"""Told when a session or token is over (`logout`, `expired`, `revoked`): what hangs on it must end."""


class Guard:
    """Proves who is asking."""

    def __init__(self, store: Store, site: Site, lifetime: timedelta, *, clock: Callable[[], float] = time.monotonic):
        self._store, self._site, self._lifetime, self._clock = store, site, lifetime, clock
        self._live: dict[str, Principal] = {}
        """By hash of the session's or token's secret."""
        self._links: dict[str, tuple[str, float]] = {}
        self._attempts = Attempts()
        self._guesses = Buckets(rate=50, burst=1_000)
        """Secrets per address that are not known here yet: each costs a look into the store. After a restart of the
        service a whole office comes back at once, from one address."""
        self._hashing = asyncio.Semaphore(2)
        """Each verification takes 64 MiB for some 50 ms: a flood of log-ins must not take the memory."""
        self._comparing = asyncio.Lock()
        """Held while sessions are compared with the accounts, and while one's own password changes: the session that
        changed it must not look like one of the old password."""
        self._ended: list[Ended] = []
        self._gone: dict[str, datetime | None] = {}
        """Sessions that ended here, until they would have expired: a request that is under way, or a store that
        fails, must not bring one back."""

    def on_end(self, ended: Ended) -> None:
        """`ended` is called for every session that is over."""
        self._ended.append(ended)

    # ---- logging in and out ----

    def admit(self, username: str, address: str) -> None:
        """Counts an attempt to log in, before anything is spent on it. Raises `TooManyAttempts`."""
        wait = self._attempts.take(folded(username), neighbourhood(address), self._clock())
        if wait > 0:
            raise TooManyAttempts(wait)

    async def login(self, username: str, password: str, address: str) -> tuple[str, Principal]:
        """The new session's secret and whose it is, after `admit`. Raises `NotLoggedIn`."""
        account = await self._store.accounts.by_name(username)
        async with self._hashing:
            fits = await password_fits(password, account.password_hash if account is not None else None)
        if not fits or account is None:
            raise NotLoggedIn("The name or the password is wrong.")
        self._attempts.succeeded(folded(username), neighbourhood(address))
        return await self._begin(account)

    def link(self, username: str) -> str:
        """A secret that logs this account in once, within ten minutes."""
        secret = new_secret()
        self._links[hash_secret(secret)] = (username, self._clock() + _LINK_LIFE)
        return secret

    async def login_once(self, secret: str, address: str = "") -> tuple[str, Principal]:
        """As `login`, by a one-time link, after `admit(LINK, ...)`. Raises `NotLoggedIn`."""
        username, until = self._links.pop(hash_secret(secret), ("", 0.0))
        account = await self._store.accounts.by_name(username) if self._clock() < until else None
        if account is None:
            raise NotLoggedIn("This log-in link was used already or has expired; ask for a new one.")
        self._attempts.succeeded(LINK, neighbourhood(address))
        return await self._begin(account)

    async def replaced(self, principal: Principal | None) -> None:
        """One browser, one session: the one that it had before a log-in is over."""
        if principal is not None and principal.by_cookie:
            await self.logout(principal)

    async def logout(self, principal: Principal) -> None:
        """Ends a session and all that hangs on it."""
        await self._end(principal, "logout")

    async def account(self, principal: Principal) -> Account:
        """Whose session this is. Raises `NotAllowed` for a machine, `NotLoggedIn`."""
        if not principal.by_cookie:
            raise NotAllowed("login", "A token has no password; an administrator makes another one.")
        account = await self._store.accounts.get(principal.actor.id)
        if account is None:
            raise NotLoggedIn("Your account was removed.")
        return account

    async def change_password(self, principal: Principal, account: Account, old: str, new: str, address: str) -> None:
        """One's own, after `admit`; every other session of the account ends within a second. Raises `WrongPassword`."""
        async with self._hashing:
            if not await password_fits(old, account.password_hash):
                raise WrongPassword
            secret = await hash_password(new)
        self._attempts.succeeded(account.username, neighbourhood(address))
        async with self._comparing:
            if principal.session not in self._live:  # it ended while the passwords were being hashed
                raise NotLoggedIn("Your session has ended; log in again.")
            await self._store.accounts.set_password(account.username, secret, keep=principal.session)
            if principal.session in self._live:
                self._live[principal.session] = replace(principal, password_hash=secret)

    async def _begin(self, account: Account) -> tuple[str, Principal]:
        """Always a fresh secret: one that somebody planted in the browser before is worth nothing (fixation)."""
        secret = new_secret()
        key = hash_secret(secret)
        expires = datetime.now(UTC) + self._lifetime
        await self._store.sessions.add(key, account.id, expires)
        self._live[key] = principal = _principal(account, key, expires)
        return secret, principal

    # ---- every request ----

    async def authenticate(self, request: web.Request, *, required: bool) -> Principal | None:
        """Who sent this. Raises `NotLoggedIn` when nobody known did and it is `required`, `TooManyRequests`."""
        header = request.headers.get("Authorization")
        address = self._site.address(request)
        try:
            if header is not None:
                return await self._by_token(header, address)
            return await self._by_cookie(request.cookies.get(self._site.cookie), address)
        except NotLoggedIn:
            if required:
                raise
            return None

    async def _by_token(self, header: str, address: str) -> Principal:
        scheme, _, secret = header.partition(" ")
        if scheme.lower() != "bearer" or not secret:
            raise NotLoggedIn('Send "Authorization: Bearer <token>".')
        key = hash_secret(secret.strip())
        known = self._live.get(key)
        if known is not None and not known.by_cookie:
            return known
        self._guess(address)
        token = await self._store.tokens.by_hash(key)
        if token is None or key in self._gone:
            raise NotLoggedIn("This token is unknown or was revoked.")
        actor = Actor(f"token:{token.id}", token.name, token.role, token.queues, token.tenants, token.ai)
        self._live[key] = principal = Principal(actor, key, by_cookie=False, expires=None)
        return principal

    async def _by_cookie(self, secret: str | None, address: str) -> Principal:
        if not secret:
            raise NotLoggedIn("Log in first.")
        key = hash_secret(secret)
        principal = self._live.get(key)
        if principal is None:
            self._guess(address)
            principal = await self._stored(key)
        if principal is None or not principal.by_cookie or _is_over(principal):
            raise NotLoggedIn("Your session has ended; log in again.")
        return principal

    def _guess(self, address: str) -> None:
        wait = self._guesses.take(neighbourhood(address), self._clock())
        if wait > 0:
            raise TooManyRequests(wait)

    async def _stored(self, key: str) -> Principal | None:
        """A session that another run of this service began."""
        session = await self._store.sessions.get(key)
        account = await self._store.accounts.get(session.account) if session is not None else None
        if session is None or account is None or key in self._gone:
            return None
        self._live[key] = principal = _principal(account, key, session.expires)
        return principal

    # ---- what happens elsewhere ----

    async def watch(self) -> None:
        """Ends sessions that expired or were revoked, by another process too, within a second. Runs for ever."""
        while True:
            await asyncio.sleep(_RECHECK)
            try:
                await self.recheck()
            except StoreUnavailable as error:  # whoever is logged in goes on: a full disk must not end a takeover
                log.warning("sessions-not-rechecked", why=error.why)

    async def recheck(self) -> None:
        """One look: sessions and tokens that are over end. Raises `StoreUnavailable`."""
        async with self._comparing:
            known = list(self._live.values())  # before reading: who comes in meanwhile may not be in what is read
            accounts = {account.id: account for account in await self._store.accounts.list()}
            tokens = {token.hash for token in await self._store.tokens.list() if token.revoked_at is None}
            over = [(one, why) for one in known if (why := _over(one, accounts.get(one.actor.id), tokens))]
        now = datetime.now(UTC)
        self._gone = {key: until for key, until in self._gone.items() if until is None or until > now}
        # All at once: neither a call that is slow to be given back nor a store that fails may keep another's alive.
        ends = await asyncio.gather(*(self._end(one, why) for one, why in over), return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                raise end

    async def _end(self, principal: Principal, why: str) -> None:
        self._gone[principal.session] = principal.expires
        self._live.pop(principal.session, None)
        for ended in self._ended:
            try:
                await ended(principal, why)
            except Exception:  # what else hangs on the session must end all the same
                log.exception("session-not-ended-cleanly", agent=principal.actor.id, why=why)
        if principal.by_cookie:
            await self._store.sessions.remove(principal.session)


def folded(username: str) -> str:
    """As the store compares names: a name in other cases is no other name, and has no tries of its own."""
    return username.strip().casefold()


def _over(principal: Principal, account: Account | None, tokens: AbstractSet[str]) -> str:
    """Why a session is over, or nothing. A changed role, queue or password is a new log-in."""
    if _is_over(principal):
        return "expired"
    if principal.by_cookie:
        known = account is not None and _principal(account, principal.session, principal.expires) == principal
    else:
        known = principal.session in tokens
    return "" if known else "revoked"


def _is_over(principal: Principal) -> bool:
    return principal.expires is not None and principal.expires <= datetime.now(UTC)


def _principal(account: Account, key: str, expires: datetime | None) -> Principal:
    actor = Actor(account.id, account.name, account.role, account.queues, account.tenants)
    return Principal(actor, key, by_cookie=True, expires=expires, password_hash=account.password_hash)
