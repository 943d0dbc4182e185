"""Whose turn it is: one head at a time on the machine, because the core uses every core by itself.

A visitor has one job at most; a newer one takes the place of the older. Quick jobs (a random head, a slider) pass
waiting photos, but only a few in a row. What runs cannot be stopped from outside, so it is asked to stop whenever it
reports; a job that is no longer wanted, or takes too long, is let go at once and its place is free as soon as it has
really ended (or after `STUCK_S`, if it never does).

What is made in the background (detail of a head that is on show) has the machine only while nobody else wants it: it
stands behind all others in line and is no part of it for them. Whoever comes starts at once, and what is at work in the
background rests at its next report until the line is empty.
"""

from __future__ import annotations

import contextlib
import contextvars
import queue
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from app.sessions import trim
from core.errors import LikenessError

# Everybody sees their place move at least this often; so often, too, does Gradio notice who has gone.
TICK_S = 1.0
# A longer wait than these people's is no use to anybody.
WAITING_LIMIT = 32
# Of work, not of waiting. A reconstruction takes a few seconds.
WORK_LIMIT_S = 60.0
# As many times as long may something take that nobody waits for with an empty page.
BACKGROUND_PATIENCE = 10
# How long a job that nobody waits for may keep its place before the next one starts beside it.
STUCK_S = 5.0
# What a job does: it gets a function to report events with, which may raise, and returns its result.
Task = Callable[[Callable[[Any], None]], Any]
# Quick jobs that may pass a waiting photo.
QUICK_IN_A_ROW = 4


class Cancelled(LikenessError):
    """The visitor asked for it."""


class Replaced(LikenessError):
    """The visitor started something newer."""


@dataclass(frozen=True)
class Waiting:
    """A place in line. place: 1 is next. seconds: until its turn, as far as the last jobs tell."""

    place: int
    seconds: float

    @property
    def sentence(self) -> str:
        """For people."""
        return f"You are number {self.place} in line; about {max(1, round(self.seconds))} s."


@dataclass(frozen=True)
class Reported:
    """What a job reported on its way."""

    event: Any


@dataclass(frozen=True)
class Finished:
    """What a job returned."""

    result: Any


class Job:
    """A visitor's place in line, then their turn. started_s: since when it has been at work without a rest; worked_s:
    how long it had been before, in all. may_work: cleared while it has to rest."""

    def __init__(self, session: str, quick: bool, background: bool, task: Task) -> None:
        self.session = session
        self.quick = quick
        self.background = background
        self.task = task
        self.context = contextvars.copy_context()  # ZeroGPU reads there whose request this is
        self.inbox: queue.SimpleQueue[Reported | Finished | BaseException | None] = queue.SimpleQueue()
        self.may_work = threading.Event()
        self.begun = False
        self.started_s: float | None = None
        self.worked_s = 0.0
        self.left_s: float | None = None
        self.end: LikenessError | None = None

    def report(self, event: Any) -> None:
        """Called by the job itself as it goes; returns when it may go on. Raises where nobody wants it any more."""
        self._see_whether_wanted()
        self.inbox.put(Reported(event))
        self.may_work.wait()
        self._see_whether_wanted()

    def taken_s(self) -> float:
        """How long it has worked, rests left out."""
        return self.worked_s + (time.monotonic() - self.started_s if self.started_s is not None else 0.0)

    def _see_whether_wanted(self) -> None:
        if self.end is not None:
            raise self.end
        if self.left_s is not None:
            raise Cancelled("Nobody waits for this head any more.")


class Work:
    """The line. Thread-safe; one object serves all visitors."""

    def __init__(self, limit_s: float = WORK_LIMIT_S, waiting_limit: int = WAITING_LIMIT) -> None:
        self._limit_s = limit_s
        self._waiting_limit = waiting_limit
        self._lock = threading.Lock()
        self._waiting: list[Job] = []
        self._running: Job | None = None
        # Of each visitor the job that somebody reads, also when it has just ended.
        self._current: dict[str, Job] = {}
        self._passed = 0
        # Of the last jobs: quick -> seconds.
        self._mean_s = {True: 0.4, False: 4.0}

    def run(
        self, session: str, task: Task, quick: bool = False, background: bool = False
    ) -> Generator[Waiting | Reported | Finished | None, None, None]:
        """Wait for a turn, then run `task` in a thread of its own, and yield what happens: `Waiting` while in line,
        `Reported` for each event that the task passes to its one argument, None where nothing happened for
        `TICK_S`, and `Finished` at the end. background: see above; its place in line comes again while it rests.

        Raises what the task raises, and LikenessErrors of its own: too many wait, it took too long, `Cancelled`,
        `Replaced`. Closing the generator at any time gives up the place or the turn.
        """
        job = self._join(session, quick, background, task)
        limit_s = self._limit_s * (BACKGROUND_PATIENCE if background else 1)
        try:
            place = self._place(job)
            if place is not None:
                yield place
            while True:
                event: Any = None
                with contextlib.suppress(queue.Empty):
                    event = job.inbox.get(timeout=min(TICK_S, limit_s))
                if job.end is not None:
                    raise job.end
                if isinstance(event, BaseException):
                    raise event
                if event is None:
                    event = self._place(job)
                if job.taken_s() > limit_s:
                    raise LikenessError(
                        f"Making this head took longer than {limit_s:g} seconds and was ended. "
                        "A head takes a few seconds; try again, or use a smaller photo."
                    )
                yield event
                if isinstance(event, Finished):
                    return
        finally:
            with self._lock:
                job.left_s = time.monotonic()
                if self._current.get(session) is job:
                    del self._current[session]
                self._let_go(job)
                self._next()

    def cancel(self, session: str) -> bool:
        """End the visitor's job, waiting or at work; whether there was one."""
        with self._lock:
            job = self._current.get(session)
            if job is None or job.end is not None:
                return False
            self._end(job, Cancelled("Cancelled; your previous head is back."))
            return True

    def idle(self) -> bool:
        """Whether nobody works and nobody waits."""
        with self._lock:
            return self._running is None and not self._waiting

    # Below: with the lock held, unless said otherwise.

    def _end(self, job: Job, why: LikenessError) -> None:
        job.end = why
        job.inbox.put(None)
        self._let_go(job)

    def _let_go(self, job: Job) -> None:
        """Nobody wants it any more: it is in nobody's way, and wakes up to see that."""
        if job in self._waiting:
            self._waiting.remove(job)
        if job.background and self._running is job:
            self._running = None
        job.may_work.set()

    def _join(self, session: str, quick: bool, background: bool, task: Task) -> Job:
        """A place in line; takes the lock."""
        job = Job(session, quick, background, task)
        with self._lock:
            index = len(self._waiting)
            old = self._current.get(session)
            if old is not None and old.end is None:
                # A newer wish of the same kind keeps the place that the older one has waited for.
                if old in self._waiting and (old.quick, old.background) == (quick, background):
                    index = self._waiting.index(old)
                self._end(old, Replaced("Something newer that you started took the place of this."))
            if sum(other.background == background for other in self._waiting) >= self._waiting_limit:
                raise LikenessError(
                    f"{self._waiting_limit} people are waiting for a head already, which is as many as fit. "
                    "Try again in about a minute."
                )
            self._current[session] = job
            self._waiting.insert(index, job)
            self._next()
        return job

    def _next(self) -> None:
        """Start whoever is first, where nobody is at work."""
        if not self._waiting:
            return
        job, running = self._order()[0], self._running
        if running is not None and running.background and not job.background:
            self._rest(running)
        elif running is not None and (running.left_s is None or time.monotonic() - running.left_s <= STUCK_S):
            return
        self._waiting.remove(job)
        slower = any(not other.quick and not other.background for other in self._waiting)
        self._passed = self._passed + 1 if job.quick and slower else 0
        self._running = job
        job.started_s = time.monotonic()
        job.may_work.set()
        if not job.begun:
            job.begun = True
            threading.Thread(target=job.context.run, args=(self._work, job), name="work", daemon=True).start()

    def _rest(self, job: Job) -> None:
        """What is at work in the background goes back to its place in line; it works on as far as its next report."""
        job.worked_s, job.started_s = job.taken_s(), None
        job.may_work.clear()
        self._waiting.insert(0, job)
        self._running = None

    def _work(self, job: Job) -> None:
        """The thread of a job; takes the lock."""
        try:
            job.inbox.put(Finished(job.task(job.report)))
        except BaseException as error:  # handed to `run`, which raises it
            job.inbox.put(error)
        finally:
            # Half a gigabyte was needed; the next one would otherwise be laid between what is left of it.
            trim()
            with self._lock:
                if job.end is None and not job.background:
                    self._mean_s[job.quick] += 0.3 * (job.taken_s() - self._mean_s[job.quick])
                # A background job may end while it should rest.
                if job in self._waiting:
                    self._waiting.remove(job)
                if self._running is job:
                    self._running = None
                self._next()

    def _order(self) -> list[Job]:
        """Those who wait, in the order of their turns as it stands."""
        background = [job for job in self._waiting if job.background]
        quick = [job for job in self._waiting if job.quick and not job.background]
        slow = [job for job in self._waiting if not job.quick and not job.background]
        order, passed = [], self._passed
        while quick or slow:
            if quick and (not slow or passed < QUICK_IN_A_ROW):
                order.append(quick.pop(0))
                passed += 1
            else:
                order.append(slow.pop(0))
                passed = 0
        return [*order, *background]

    def _place(self, job: Job) -> Waiting | None:
        """Where the job stands, None once it has started; takes the lock."""
        with self._lock:
            self._next()
            order = self._order()
            if job not in order:
                return None
            place = order.index(job)
            seconds = sum(self._mean_s[other.quick] for other in order[:place] if not other.background)
            if self._running is not None and not self._running.background:
                seconds += max(0.0, self._mean_s[self._running.quick] - self._running.taken_s())
            return Waiting(place + 1, seconds)
