"""Whose turn it is. Nothing here is timed: a step waits for the state that it needs, and fails after `PATIENCE_S`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from app import work
from app.work import Cancelled, Finished, Replaced, Reported, Waiting, Work
from core.errors import LikenessError

PATIENCE_S = 60


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.01)


class Task:
    """Work that goes on until it is let go, and reports all the while."""

    def __init__(self, name: str = "task", started: list[str] | None = None) -> None:
        self.name = name
        self.started = threading.Event()
        self.go = threading.Event()
        self.ended = threading.Event()
        self._order = started

    def __call__(self, report: Callable[[Any], None]) -> str:
        if self._order is not None:
            self._order.append(self.name)
        self.started.set()
        try:
            while not self.go.wait(0.01):
                report(self.name)
            return self.name
        finally:
            self.ended.set()


class Visit:
    """A visitor's request, read to its end in a thread of its own."""

    def __init__(self, line: Work, session: str, task: Any, quick: bool = False, background: bool = False) -> None:
        self.events: list[Any] = []
        self.error: BaseException | None = None
        self._arguments = (session, task, quick, background)
        self._line = line
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        try:
            for event in self._line.run(*self._arguments):
                self.events.append(event)
        except BaseException as error:
            self.error = error

    def end(self) -> None:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    @property
    def places(self) -> list[int]:
        return [event.place for event in self.events if isinstance(event, Waiting)]


def test_a_task_reports_and_returns() -> None:
    events = list(Work().run("ada", lambda report: [report(i) for i in range(3)] and "done"))
    assert events == [Reported(0), Reported(1), Reported(2), Finished("done")]


def test_what_a_task_raises_reaches_who_waits() -> None:
    def fail(report: Any) -> None:
        raise ValueError("secret")

    line = Work()
    with pytest.raises(ValueError, match="secret"):
        list(line.run("ada", fail))
    assert list(line.run("ada", lambda report: 1))[-1] == Finished(1)


def test_one_at_a_time_first_come_first_served_and_everybody_knows_their_place() -> None:
    line, order = Work(), []
    tasks = [Task(str(i), order) for i in range(4)]
    visits = []
    for i, task in enumerate(tasks):
        visits.append(Visit(line, f"visitor {i}", task))
        until(lambda i=i, v=visits: v[i].places == [i] if i else tasks[0].started.is_set())
    until(lambda: visits[3].places[-1] == 3)
    tasks[0].go.set()
    until(lambda: visits[2].places[-1] == 1 and visits[3].places[-1] == 2)
    assert not tasks[2].started.is_set()
    for task in tasks:
        task.go.set()
    for visit, task in zip(visits, tasks, strict=True):
        visit.end()
        assert visit.events[-1] == Finished(task.name)
        # A place only ever gets better.
        assert visit.places == sorted(visit.places, reverse=True)
    assert order == ["0", "1", "2", "3"]
    until(line.idle)


def test_quick_tasks_pass_slow_ones_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "QUICK_IN_A_ROW", 2)
    line, order = Work(), []
    first = Task("first", order)
    visits = [Visit(line, "first", first)]
    until(first.started.is_set)
    rest = [("slow 1", False), ("slow 2", False), *((f"quick {i}", True) for i in range(5))]
    for name, quick in rest:
        task = Task(name, order)
        task.go.set()
        visits.append(Visit(line, name, task, quick))
        until(lambda v=visits[-1]: bool(v.places))
    first.go.set()
    for visit in visits:
        visit.end()
    assert order == ["first", "quick 0", "quick 1", "slow 1", "quick 2", "quick 3", "slow 2", "quick 4"]


@pytest.mark.parametrize("at_work", [True, False])
def test_cancel_frees_the_place_at_once(at_work: bool) -> None:
    line = Work()
    running, waiting = Task("running"), Task("waiting")
    visits = [Visit(line, "running", running)]
    until(running.started.is_set)
    visits.append(Visit(line, "waiting", waiting))
    until(lambda: bool(visits[1].places))
    cancelled = 0 if at_work else 1
    assert line.cancel(["running", "waiting"][cancelled])
    assert not line.cancel(["running", "waiting"][cancelled])
    visits[cancelled].end()
    assert isinstance(visits[cancelled].error, Cancelled)
    if at_work:
        until(lambda: running.ended.is_set() and waiting.started.is_set())
    else:
        assert not waiting.started.is_set()
    for task in (running, waiting):
        task.go.set()
    for visit in visits:
        visit.end()
    assert visits[1 - cancelled].events[-1] == Finished(["waiting", "running"][cancelled])


def test_who_goes_away_frees_the_place() -> None:
    """Closing the generator is how Gradio tells that a client has gone."""
    line, task = Work(), Task()
    events = line.run("gone", task)
    until(lambda: next(events) == Reported("task"))
    events.close()
    assert task.ended.wait(PATIENCE_S)
    until(line.idle)
    assert list(line.run("next", lambda report: "served"))[-1] == Finished("served")


def test_who_goes_away_while_waiting_frees_the_place() -> None:
    line, running, waiting = Work(), Task(), Task()
    visit = Visit(line, "running", running)
    until(running.started.is_set)
    events = line.run("gone", waiting)
    assert next(events) == Waiting(1, pytest.approx(4, abs=4))
    events.close()
    running.go.set()
    visit.end()
    until(line.idle)
    assert not waiting.started.is_set()


def test_a_visitor_has_one_task_and_a_newer_one_keeps_the_place() -> None:
    line, order = Work(), []
    running = Task("running", order)
    visits = {"running": Visit(line, "somebody", running)}
    until(running.started.is_set)
    tasks = {name: Task(name, order) for name in ("old", "other", "new")}
    for name, session in (("old", "ada"), ("other", "bob"), ("new", "ada")):
        tasks[name].go.set()
        visits[name] = Visit(line, session, tasks[name])
        until(lambda v=visits[name]: bool(v.places))
    visits["old"].end()
    assert isinstance(visits["old"].error, Replaced)
    assert visits["new"].places[0] == 1
    running.go.set()
    for visit in visits.values():
        visit.end()
    assert order == ["running", "new", "other"]


def test_a_newer_task_ends_the_one_at_work() -> None:
    line, old = Work(), Task("old")
    visit = Visit(line, "ada", old)
    until(old.started.is_set)
    assert list(line.run("ada", lambda report: "new"))[-1] == Finished("new")
    visit.end()
    assert isinstance(visit.error, Replaced)
    assert old.ended.is_set()


def test_too_many_are_told_to_come_back() -> None:
    line, running = Work(waiting_limit=2), Task()
    visits = [Visit(line, "running", running)]
    until(running.started.is_set)
    for i in range(2):
        task = Task()
        task.go.set()
        visits.append(Visit(line, f"waiting {i}", task))
        until(lambda v=visits[-1]: bool(v.places))
    with pytest.raises(LikenessError, match="2 people are waiting"):
        next(line.run("late", Task()))
    running.go.set()
    for visit in visits:
        visit.end()
        assert visit.error is None


def test_what_takes_too_long_is_ended_with_a_sentence() -> None:
    line, task = Work(limit_s=0.05), Task()
    with pytest.raises(LikenessError, match=r"longer than 0\.05 seconds"):
        list(line.run("ada", task))
    assert task.ended.wait(PATIENCE_S)
    until(line.idle)


def test_a_task_that_never_calls_back_holds_nobody_up_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "STUCK_S", 0.05)
    monkeypatch.setattr(work, "TICK_S", 0.02)
    line, stuck, release = Work(limit_s=0.05), threading.Event(), threading.Event()

    def task(report: Any) -> None:
        stuck.set()
        release.wait(PATIENCE_S)

    try:
        with pytest.raises(LikenessError, match="longer than"):
            list(line.run("ada", task))
        assert stuck.is_set()
        assert list(line.run("bob", lambda report: "served"))[-1] == Finished("served")
    finally:
        release.set()
    until(line.idle)


def test_a_place_is_a_sentence() -> None:
    assert Waiting(3, 7.6).sentence == "You are number 3 in line; about 8 s."
    assert Waiting(1, 0.0).sentence == "You are number 1 in line; about 1 s."


class Counted:
    """Work that counts how often it has been allowed to go on."""

    def __init__(self) -> None:
        self.steps = 0
        self.go = threading.Event()

    def __call__(self, report: Callable[[Any], None]) -> int:
        while not self.go.wait(0.005):
            report(self.steps)
            self.steps += 1
        return self.steps


def test_what_is_at_work_in_the_background_rests_while_others_have_heads_to_make() -> None:
    line, behind = Work(), Counted()
    resting = Visit(line, "behind", behind, background=True)
    until(lambda: behind.steps > 2)
    tasks = [Task(str(i)) for i in range(2)]
    visits = [Visit(line, "visitor 0", tasks[0])]
    until(tasks[0].started.is_set)
    # Nobody waits for what is behind; the second waits for the first alone.
    assert visits[0].places == []
    visits.append(Visit(line, "visitor 1", tasks[1]))
    until(lambda: visits[1].places == [1])
    until(lambda: resting.places == [2])
    steps = behind.steps
    tasks[0].go.set()
    until(tasks[1].started.is_set)
    until(lambda: resting.places[-1] == 1)
    assert behind.steps == steps and not line.idle()
    tasks[1].go.set()
    until(lambda: behind.steps > steps + 2)
    behind.go.set()
    for visit in (resting, *visits):
        visit.end()
        assert visit.error is None
    assert isinstance(resting.events[-1], Finished)
    until(line.idle)


def test_one_at_a_time_is_at_work_in_the_background() -> None:
    line, first, second = Work(), Counted(), Counted()
    visits = [Visit(line, "first", first, background=True)]
    until(lambda: first.steps > 0)
    visits.append(Visit(line, "second", second, background=True))
    until(lambda: visits[1].places == [1])
    assert list(line.run("other", lambda report: "served"))[-1] == Finished("served")
    steps = first.steps
    # Who rested goes on before who has not begun.
    until(lambda: first.steps > steps + 2)
    assert second.steps == 0
    first.go.set()
    until(lambda: second.steps > 0)
    second.go.set()
    for visit in visits:
        visit.end()
        assert visit.error is None


def test_what_is_newer_does_not_wait_for_the_background_to_notice() -> None:
    line, release, started = Work(), threading.Event(), threading.Event()

    def silent(report: Any) -> str:
        started.set()
        release.wait(PATIENCE_S)
        report("late")
        return "too late"

    for session in ("ada", "bob"):
        started.clear()
        visit = Visit(line, "ada", silent, background=True)
        until(started.is_set)
        assert list(line.run(session, lambda report: "served", quick=True))[-1] == Finished("served")
        release.set()
        visit.end()
        if session == "ada":
            assert isinstance(visit.error, Replaced)
        else:
            assert visit.events[-1] == Finished("too late")
        release.clear()
        until(line.idle)


def test_resting_is_no_work_and_may_be_cancelled() -> None:
    line, behind, task = Work(limit_s=0.2), Counted(), Task()
    visit = Visit(line, "behind", behind, background=True)
    until(lambda: behind.steps > 0)
    # Others are given a limit of their own here.
    line._limit_s = PATIENCE_S
    other = Visit(line, "other", task)
    until(task.started.is_set)
    until(lambda: bool(visit.places))
    time.sleep(0.2 * work.BACKGROUND_PATIENCE + 0.2)
    assert visit.error is None
    assert line.cancel("behind")
    visit.end()
    assert isinstance(visit.error, Cancelled)
    task.go.set()
    other.end()
    until(line.idle)
