"""
The open sockets of this process, and what they are told (A12, A13; reliability.md 5.5; ADR 0023).

What fan-out brings is a hint; the timeline is the truth. A conversation is heard before its head is read, a socket
is sent what it lacks before it joins, what did not come is found by its number, or by looking when nothing came
for long. So nothing is left out, twice or out of order, whatever fan-out loses.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine, Iterable, Mapping
from contextlib import AsyncExitStack
from itertools import cycle
from typing import Any

import msgspec

from events.vocabulary import ReceiptKind, rfc3339
from functions.realtime.coalescing import Coalescing, each
from functions.realtime.feed import Feed
from functions.realtime.func import PAGE, Realtime
from functions.realtime.outgoing import Outgoing, heard, said
from functions.realtime.session import GOING_AWAY, SILENT, UNAUTHENTICATED, Limits, Person, Session, Wire
from functions.realtime.tenants import Tenants
from shared.domain.errors import Invalid, NotFound, RateLimited, Unauthenticated, Unavailable
from shared.domain.frames import conversation_subject, user_subject
from shared.domain.presence import GATEWAY_BEAT, OFFLINE_AFTER
from shared.http.tickets import Admission
from shared.observability import metrics
from shared.observability.log import log
from shared.ports.fan_out import Listening

_SLOTS = 28
"""Of a heartbeat: each tick pings the sockets of one."""
_VERIFY = 4
"""Clients are asked about every so many ticks: 3.6 s."""
_LOOK_AFTER = 2 * _SLOTS
"""
Users every so many, when the turn of one of their sockets comes: 50 to 75 s, whatever the number of their sockets;
until then it is believed what was heard of them.
"""
_REVOKED = "the token is not valid any more"
_UNANSWERED = 2
_SILENT = _SLOTS + 6
"""Ticks without a sign of life, its ping's answer being 5 s late, after which a socket gives way to a new one."""
_WARNING = 60
"""Seconds before its end that a token's holder is told."""
_LINGER = 60.0
"""Seconds that nobody's subjects are still heard: whoever lost their connection comes back to them."""
_UNHEARD = 3.0
"""Seconds after which hardly a message is kept any more by who did not know yet that a tenant is heard here."""
_RECEIPTS_EVERY = 0.5
_UNSETTLED = 10.0
"""Seconds in which a change of membership that we heard of may not be in the tables yet."""
_KEPT = 2000
"""Frames that are kept nowhere else, for those who come back within moments."""
_AT_A_TIME = 100

_Receipt = tuple[str, str, str, ReceiptKind]


class Hub:
    """``start`` it in the loop, ``stop`` it at the end."""

    def __init__(self, realtime: Realtime, limits: Limits) -> None:
        self._realtime = realtime
        self._limits = limits
        self.gateway = realtime.ids.uuid()
        """Whose sockets presence is told of."""
        self.epoch = realtime.ids.uuid()
        """Changes whenever something that is kept nowhere may have been missed."""
        self._tenants = Tenants(realtime.listeners, realtime.presence, self.gateway)
        self._people: dict[tuple[str, str], Person] = {}
        self._feeds: dict[tuple[str, str], Feed] = {}
        self._subjects: dict[str, Feed | Person] = {}
        self._slots: tuple[set[Session], ...] = tuple(set() for _ in range(_SLOTS))
        self._next_slot = cycle(range(_SLOTS))
        self._ticks = 0
        self._unused: dict[str, float] = {}
        self._stirred: set[Feed] = set()
        self._quieting: set[Feed] = set()
        self._recent: deque[tuple[int, str, Outgoing]] = deque(maxlen=_KEPT)
        self._offset = 0
        self._losses = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._running = AsyncExitStack()
        self._listening: Listening | None = None
        self._receipts: Coalescing[_Receipt, int] = Coalescing(self._keep_receipt, every=_RECEIPTS_EVERY, newer=max)
        self._presences: Coalescing[tuple[str, str], bool] = Coalescing(self._tell_presence, every=0.0)

    async def start(self) -> None:
        self._listening = await self._running.enter_async_context(self._realtime.fan_out.subscribe())
        self._receipts.start()
        self._presences.start()
        self._spawn(self._hear(self._listening))
        self._spawn(self._tick())
        self._spawn(self._live())

    async def stop(self) -> None:
        """Every socket is told that this process goes away; what was acknowledged is kept."""
        if self._listening is None:
            return
        for session in self._sessions():
            session.end(GOING_AWAY, "this gateway stops; connect again")
            await self.close(session)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._tenants.stop()
        await self._receipts.stop()
        await self._presences.stop()
        await self._running.aclose()
        self._listening = None

    async def open(self, admission: Admission, wire: Wire) -> Session:
        """
        A session of the user, which hears what concerns them; ``resume`` makes it hear conversations.

        Raises:
            RateLimited: the user has as many sockets as one may have, and none of them is silent.
            Unauthenticated: they were erased, after their token or ticket was issued.
            Unavailable: this gateway stops, or a dependency is away.
        """
        if self._listening is None:
            raise Unavailable("this gateway stops; connect again")
        person = self._person(admission.tenant, admission.user_id)
        if len(person.sessions) >= self._limits.connections:
            await self._make_room(person)
        session = Session(admission, person, wire, next(self._next_slot))
        self.sign_of_life(session)
        if not person.sessions:
            self._presences.put((person.tenant, person.user_id), True)
        person.sessions.add(session)
        self._slots[session.slot].add(session)
        try:
            await self._hear_of(person.tenant)
            await self._opened(person)
            # Heard first, asked then: an erasure is told once.
            if not await self._realtime.users.exists(person.tenant, person.user_id):
                raise Unauthenticated(_REVOKED)
            await self._reconsider(person)
        except BaseException:
            await self.close(session)
            raise
        return session

    async def _hear_of(self, tenant: str) -> None:
        if not await self._tenants.hear(tenant):
            return
        if self._listening is None:
            raise Unavailable("this gateway stops; connect again")
        self._offset += 1
        for it in self._subjects.values():
            if it.tenant == tenant:
                it.heard_since = self._offset
        self._spawn(self._look_again(tenant))

    async def _still_heard(self, tenant: str) -> None:
        """Who restores a backup, or took this gateway for dead, has forgotten that it listens."""
        if not await self._tenants.holds(tenant):
            await self._hear_of(tenant)
            self.epoch = self._realtime.ids.uuid()

    async def _make_room(self, person: Person) -> None:
        """A device that lost its network comes back before its old socket is known to be dead, or was cleaned up."""
        gone = [one for one in person.sessions if not one.open]
        if gone:
            await self.close(gone[0])
            return
        silent = [one for one in person.sessions if one.unanswered and self._ticks - one.heard_at > _SILENT]
        if not silent:
            raise RateLimited(f"a user may have {self._limits.connections} sockets here; close one")
        oldest = min(silent, key=lambda one: one.heard_at)
        metrics.socket_cut("silent")
        oldest.end(SILENT, "a ping was not answered, and the user opened another socket")
        await self.close(oldest)

    def sign_of_life(self, session: Session) -> None:
        session.heard_at, session.unanswered = self._ticks, 0

    async def close(self, session: Session) -> None:
        """Forget the session; twice is once."""
        session.open = False
        person = session.person
        if session not in person.sessions:
            return
        person.sessions.discard(session)
        self._slots[session.slot].discard(session)
        for conversation_id in person.standing:
            feed = self._feeds.get((person.tenant, conversation_id))
            if feed is not None:
                self._leave(feed, session)
        if not person.sessions:
            self._unused[person.subject] = self._now()
            self._presences.put((person.tenant, person.user_id), False)

    async def resume(
        self,
        session: Session,
        cursors: Mapping[str, int] | None = None,
        *,
        epoch: str | None = None,
        offset: int | None = None,
    ) -> None:
        """
        Send what is missing, then ``ready``; from then on the session hears all of its user's conversations.

        Args:
            cursors: what the client has, by conversation; of others, and without any, what its user has not
                acknowledged is missing.
            epoch, offset: of the last frame that the client saw them in.

        Raises:
            Unavailable: a dependency is away.
        """
        known = cursors or {}
        async with session.replaying:
            session.started = True
            wanted = [one for one in session.person.conversations if one in known or not self._hears(session, one)]
            await each(wanted, lambda conversation_id: self._join(session, conversation_id, known.get(conversation_id)))
            recovered = self._recover(session, offset) if epoch == self.epoch and offset is not None else False
            session.write(said("ready", epoch=self.epoch, offset=self._offset, recovered=recovered))

    def acknowledge(self, session: Session, conversation_id: str, kind: ReceiptKind, seq: int) -> None:
        """
        The user has received, or read, everything up to ``seq``; kept and told within moments.

        Raises:
            NotFound: no such conversation of theirs.
            Invalid: there is no such message yet.
        """
        person = session.person
        feed = self._feeds.get((person.tenant, conversation_id))
        if feed is None or feed.line.position is None or not person.is_in(conversation_id):
            raise NotFound(f"there is no conversation {conversation_id!r} here")
        if seq > feed.position:
            raise Invalid(f"the conversation has the numbers 1 to {feed.position}")
        self._receipts.put((person.tenant, conversation_id, person.user_id, kind), seq)

    @property
    def offset(self) -> int:
        return self._offset

    def _sessions(self) -> list[Session]:
        return [session for slot in self._slots for session in slot]

    def _hears(self, session: Session, conversation_id: str) -> bool:
        feed = self._feeds.get((session.person.tenant, conversation_id))
        return feed is not None and session in feed.audience

    # Who is heard ---------------------------------------------------------------------------------------------

    def _person(self, tenant: str, user_id: str) -> Person:
        person = self._people.get((tenant, user_id))
        if person is None:
            person = Person(tenant, user_id, user_subject(tenant, user_id), looked=self._ticks)
            self._people[tenant, user_id] = person
            self._tenants.came(tenant)
            self._subjects[person.subject] = person
            person.opening = self._spawn(self._listen_to(person))
        self._unused.pop(person.subject, None)
        return person

    def _feed(self, tenant: str, conversation_id: str) -> Feed:
        feed = self._feeds.get((tenant, conversation_id))
        if feed is None:
            feed = Feed(tenant, conversation_id, conversation_subject(tenant, conversation_id))
            self._feeds[tenant, conversation_id] = feed
            self._subjects[feed.subject] = feed
            feed.opening = self._spawn(self._listen_to(feed))
        self._unused.pop(feed.subject, None)
        return feed

    async def _opened(self, it: Feed | Person) -> None:
        if it.opening is not None:
            await asyncio.shield(it.opening)

    async def _listen_to(self, it: Feed | Person) -> None:
        """Heard first, read then: what comes between is heard."""
        assert self._listening is not None
        try:
            await self._listening.add(it.subject)
            if isinstance(it, Feed):
                for item in it.line.start(await self._realtime.head(it.tenant, it.conversation_id)):
                    self._deliver(it, item)
        except BaseException:
            await self._forget(it)
            raise
        self._offset += 1  # or who saw this very one would be told that they have missed nothing
        it.heard_since = self._offset
        it.opening = None

    async def _forget(self, it: Feed | Person) -> None:
        self._unused.pop(it.subject, None)
        self._subjects.pop(it.subject, None)
        if isinstance(it, Feed):
            self._feeds.pop((it.tenant, it.conversation_id), None)
            self._stirred.discard(it)
            self._quieting.discard(it)
        elif self._people.pop((it.tenant, it.user_id), None) is not None:
            self._tenants.went(it.tenant)
        if self._listening is not None:
            await self._listening.remove(it.subject)

    # Joining and leaving --------------------------------------------------------------------------------------

    async def _join(self, session: Session, conversation_id: str, since: int | None) -> None:
        """Send what the session lacks of the conversation; at the moment when it lacks nothing it is in."""
        person = session.person
        feed = self._feed(person.tenant, conversation_id)
        feed.holders += 1
        try:
            await self._opened(feed)
            feed.audience.discard(session)
            if since is None and feed.position:
                since = await self._realtime.cursor(person.tenant, conversation_id, person.user_id)
            if since is not None and since > feed.position:
                await self._mend(feed)  # somebody has what did not come here yet
            position = min(since or 0, feed.position)
            member = True
            while session.open and person.is_in(conversation_id):
                # No await from here to the end of the turn: the feed cannot move in between.
                if position >= feed.position:
                    if member:
                        feed.audience.add(session)
                    else:
                        self._expel(feed, person)
                    return
                page = await self._realtime.since(person.tenant, conversation_id, position)
                if not page:
                    raise Unavailable("messages that are there cannot be read now; connect again")
                for item in page:
                    if item.seq > feed.position:
                        break
                    position = item.seq
                    change = _change(item, person.user_id)
                    if member or change:
                        if not session.write(item):
                            return
                        metrics.frames_replayed.inc()
                        await session.wire.drained()
                        self.sign_of_life(session)
                    member = member if change is None else change
        finally:
            feed.holders -= 1
            self._let_go(feed)

    async def _join_late(self, session: Session, conversation_id: str) -> None:
        async with session.replaying:
            if session.person.is_in(conversation_id) and not self._hears(session, conversation_id):
                await self._join(session, conversation_id, None)

    def _take_in(self, person: Person, conversation_id: str) -> None:
        """The user is in the conversation: their sessions, too."""
        person.standing[conversation_id] = True, self._now()
        self._admit(person, conversation_id)

    def _admit(self, person: Person, conversation_id: str) -> None:
        for session in person.sessions:
            if session.started and not self._hears(session, conversation_id):
                self._spawn(self._join_late(session, conversation_id))

    def _expel(self, feed: Feed, person: Person) -> None:
        person.standing[feed.conversation_id] = False, self._now()
        for session in person.sessions:
            self._leave(feed, session)

    def _leave(self, feed: Feed, session: Session) -> None:
        feed.audience.discard(session)
        self._let_go(feed)

    def _let_go(self, feed: Feed) -> None:
        if not feed.audience and not feed.holders and feed.subject in self._subjects:
            self._unused.setdefault(feed.subject, self._now())

    async def _reconsider(self, person: Person) -> None:
        """What the tables say of the user's conversations; what we heard moments ago may not be in them yet."""
        known = set(await self._realtime.memberships(person.tenant, person.user_id))
        settled = self._now() - _UNSETTLED
        for conversation_id in known:
            member, at = person.standing.get(conversation_id, (False, float("-inf")))
            if member:
                self._admit(person, conversation_id)
            elif at <= settled:
                self._take_in(person, conversation_id)
        for conversation_id, (member, at) in list(person.standing.items()):
            if conversation_id in known or at > settled:
                continue
            if member:
                feed = self._feeds.get((person.tenant, conversation_id))
                if feed is not None:
                    self._expel(feed, person)
            del person.standing[conversation_id]

    # What is heard --------------------------------------------------------------------------------------------

    async def _hear(self, listening: Listening) -> None:
        count = 0
        async for subject, frame in listening:
            try:
                self._arrived(subject, frame)
            except msgspec.MsgspecError as error:
                log.error("fan-out brought no frame", function="realtime", why=str(error))
            except Exception as error:  # noqa: BLE001  one frame's; all others are still to be heard
                log.error("a frame was not passed on", function="realtime", exc_info=error)
            count += 1
            if count % _AT_A_TIME == 0:
                await asyncio.sleep(0)

    def _arrived(self, subject: str, frame: bytes) -> None:
        it = self._subjects.get(subject)
        if it is None:
            return
        kind, item = heard(frame)
        if isinstance(it, Person):
            if kind == "erased":
                self._revoke(it.sessions)
                return
            self._tell(subject, it.sessions, item)
            if kind == "conversation":
                self._concerned(it, frame)
        elif item.seq:
            for ready in it.line.take(item.seq, item):
                self._deliver(it, ready)
            self._stirred.add(it)
            if it.line.gap and not it.mending and it.line.position is not None:
                self._spawn(self._mend(it, patience=self._limits.patience))
        else:
            self._tell(subject, it.audience, item)

    def _deliver(self, feed: Feed, item: Outgoing) -> None:
        for session in feed.audience:
            session.write(item)
        metrics.frames_out.inc(len(feed.audience))
        if item.system is None:
            return
        person = self._people.get((feed.tenant, item.system.user_id))
        if person is None:
            return
        if _change(item, person.user_id):
            self._take_in(person, feed.conversation_id)
        else:
            self._expel(feed, person)

    def _tell(self, subject: str, sessions: Iterable[Session], item: Outgoing) -> None:
        """What is kept nowhere: whoever is not there misses it."""
        self._offset += 1
        self._recent.append((self._offset, subject, item))
        count = 0
        for session in sessions:
            count += session.write(item)
        metrics.frames_out.inc(count)

    def _concerned(self, person: Person, frame: bytes) -> None:
        """A conversation was made with the user, or they came or went."""
        change = msgspec.json.decode(frame, type=_Change)
        if change.action == "created" or (
            change.action in ("joined", "added") and change.user_id in (None, person.user_id)
        ):
            self._take_in(person, change.conversation_id)
        else:
            self._spawn(self._reconsider(person))

    def _recover(self, session: Session, offset: int) -> bool:
        """Send again what is kept only here, if nothing of it can be missing."""
        person = session.person
        feeds = [self._feeds.get((person.tenant, one)) for one in person.conversations]
        dropped = len(self._recent) == self._recent.maxlen and self._recent[0][0] > offset + 1
        if offset > self._offset or dropped:
            return False
        if any(it is None or it.heard_since > offset for it in (person, *feeds)):
            return False
        subjects = {it.subject for it in (person, *feeds) if it is not None}
        for number, subject, item in list(self._recent):
            if number > offset and subject in subjects:
                session.write(item)
        return True

    async def _mend(self, feed: Feed, *, patience: float = 0.0) -> None:
        """Read on from the timeline where fan-out left something out."""
        feed.mending = True
        try:
            if patience:
                await asyncio.sleep(patience)
                if not feed.line.gap:
                    return
            while True:
                page = await self._realtime.since(feed.tenant, feed.conversation_id, feed.position)
                for item in page:
                    ready = feed.line.take(item.seq, item)
                    if ready and ready[0] is item:
                        metrics.gaps_filled.inc()
                    for one in ready:
                        self._deliver(feed, one)
                if len(page) < PAGE:
                    return
        except Unavailable as error:
            log.warning("messages could not be read; they will be", function="realtime", why=error.detail)
            self._stirred.add(feed)
        finally:
            feed.mending = False

    async def _look_again(self, tenant: str) -> None:
        """What was accepted before it was known that the tenant is heard here was not pushed."""
        await asyncio.sleep(_UNHEARD)
        await each([feed for feed in self._feeds.values() if feed.tenant == tenant], self._look)
        await self._realtime.listeners.forget_dead(tenant)

    async def _look(self, feed: Feed) -> None:
        if feed.mending:
            self._stirred.add(feed)  # which may be about to find that it need not read: by the next tick but one
        elif feed.line.position is not None:
            await self._mend(feed)

    # Time -----------------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        """Errors of one tick end with it."""
        while True:
            await asyncio.sleep(self._limits.heartbeat / _SLOTS)
            self._ticks += 1
            try:
                await self.turn()
            except Exception as error:  # noqa: BLE001  the next one tries again
                log.warning("a tick failed", function="realtime", exc_info=error)

    async def turn(self) -> None:
        """What one tick does: pings, lost frames, tokens, memberships, subjects that nobody needs."""
        due = self._slots[self._ticks % _SLOTS]
        self._ping(list(due))
        judged = [s for slot in self._slots[self._ticks % _VERIFY :: _VERIFY] for s in slot]
        self._expire(judged)
        quiet, self._quieting = self._quieting - self._stirred, self._stirred
        self._stirred = set()
        await each(list(quiet), self._look)
        if self._listening is not None and self._listening.losses != self._losses:
            self._losses = self._listening.losses
            self._catch_up()
        await self._verify([session for session in judged if session.open])
        await self._sweep()
        looked_after = [one for one in {session.person for session in due} if self._is_due(one)]
        await each(list({person.tenant for person in looked_after}), self._still_heard)
        await each(looked_after, self._look_after)
        if self._ticks % _SLOTS == 0:
            await self._tenants.let_go()

    def _catch_up(self) -> None:
        """Anything may have been missed: messages are looked for beside the ticks, users as their turn comes."""
        self.epoch = self._realtime.ids.uuid()
        for person in self._people.values():
            person.looked = self._ticks - _LOOK_AFTER
        self._spawn(each(list(self._feeds.values()), self._look))

    def _ping(self, sessions: Iterable[Session]) -> None:
        frame = said("ping", epoch=self.epoch, offset=self._offset)
        for session in sessions:
            if session.unanswered >= _UNANSWERED:
                metrics.socket_cut("silent")
                session.end(SILENT, "two pings were not answered")
            elif session.open and session.wire.ping(frame):
                session.unanswered += 1

    def _expire(self, sessions: Iterable[Session]) -> None:
        """Tokens end by their time, whatever cannot be asked now."""
        now = self._realtime.clock.now()
        for session in sessions:
            expires_at = session.admission.caller.expires_at
            left = (expires_at - now).total_seconds()
            if left <= 0:
                metrics.socket_cut("expired")
                session.end(UNAUTHENTICATED, "the token has expired; connect with a new one")
            elif left <= _WARNING and not session.warned:
                session.warned = True
                session.write(said("auth.expiring", expires_at=rfc3339(expires_at)))

    async def _verify(self, sessions: list[Session]) -> None:
        """Tokens end by their client (closed within 5 s)."""
        clients = {(one.tenant, one.client_id, one.epoch): one for one in (s.admission.caller for s in sessions)}
        gone = {client for client, caller in clients.items() if not await self._realtime.stands(caller)}
        if gone:
            callers = ((session, session.admission.caller) for session in sessions)
            self._revoke(s for s, one in callers if (one.tenant, one.client_id, one.epoch) in gone)

    def _revoke(self, sessions: Iterable[Session]) -> None:
        for session in list(sessions):
            metrics.socket_cut("revoked")
            session.end(UNAUTHENTICATED, _REVOKED)

    def _is_due(self, it: Person | Feed) -> bool:
        return it.looked <= self._ticks - _LOOK_AFTER

    async def _look_after(self, person: Person) -> None:
        """Now and then: were we told of everything?"""
        if not await self._realtime.users.exists(person.tenant, person.user_id):
            self._revoke(person.sessions)
            return
        held = await self._realtime.presence.holds(person.tenant, person.user_id, self.gateway)
        if not held and person.sessions:
            self._presences.put((person.tenant, person.user_id), True)
        await self._reconsider(person)
        person.looked = self._ticks
        for conversation_id in person.conversations:
            feed = self._feeds.get((person.tenant, conversation_id))
            if feed is not None and self._is_due(feed):
                feed.looked = self._ticks
                await self._look(feed)

    async def _sweep(self) -> None:
        """Hear no longer what nobody here wants to hear."""
        before = self._now() - _LINGER
        for subject in [subject for subject, since in self._unused.items() if since < before]:
            it = self._subjects.get(subject)
            self._unused.pop(subject, None)
            wanted = it is None or (it.sessions if isinstance(it, Person) else it.audience or it.holders)
            if it is not None and not wanted:
                await self._forget(it)

    async def _live(self) -> None:
        """Say that this gateway lives, and with it those whose sockets it holds (A14)."""
        beaten = self._now()
        while True:
            try:
                await self._realtime.presence.beat(self.gateway)
                if self._now() - beaten > OFFLINE_AFTER.total_seconds():
                    await each(self._tenants.heard, self._still_heard)
                    self._catch_up()  # taken for dead, and nobody was woken to push to it
                beaten = self._now()
            except Exception as error:  # noqa: BLE001  the next beat tries again
                log.warning("a beat failed", function="realtime", exc_info=error)
            await asyncio.sleep(GATEWAY_BEAT.total_seconds())

    async def _tell_presence(self, user: tuple[str, str], there: bool) -> None:
        if there:
            await self._realtime.presence.opened(*user, self.gateway)
        else:
            await self._realtime.presence.closed(*user, self.gateway)

    async def _keep_receipt(self, receipt: _Receipt, seq: int) -> None:
        tenant, conversation_id, user_id, kind = receipt
        await self._realtime.acknowledge(tenant, conversation_id, user_id, kind, seq)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("something was left undone", function="realtime", exc_info=error)


class _Change(msgspec.Struct):
    action: str
    conversation_id: str
    user_id: str | None = None


def _change(item: Outgoing, user_id: str) -> bool | None:
    """Whether the user is a member by this message; None: it does not say."""
    if item.system is None or item.system.user_id != user_id:
        return None
    return item.system.action in ("joined", "added")
