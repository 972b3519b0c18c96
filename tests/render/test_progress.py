"""The line that says how far a command is: true, on a terminal only, and gone at the end."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.doors import call, made_once
from support.places import ROOT

from profilectl.files import progress as channel
from profilectl.render import screen
from profilectl.render.progress import line as module
from profilectl.render.progress import works
from profilectl.render.progress.line import ERASE, Line, duration
from profilectl.render.progress.time_left import Mark, Share, TimeLeft
from profilectl.render.progress.works import work_of_import
from profilectl.store.scratch import connect

SLEEPER = """
import sys, time
from profilectl.files import progress as at_work
from profilectl.render import screen
from profilectl.render.progress.line import progress
from profilectl.render.progress.time_left import Mark

marks = [Mark("a", 1.5, "reading the files"), Mark("b", 1.5, "writing")]
try:
    with progress(marks, quiet="--quiet" in sys.argv) as tell:
        tell("a", 0)
        time.sleep(float(sys.argv[1]) / 2)
        if "notice" in sys.argv:
            screen.notice("a notice")
        tell("b", 1000)
        time.sleep(float(sys.argv[1]) / 2)
except KeyboardInterrupt:
    print("stopped", file=sys.stderr)
"""


@contextlib.contextmanager
def at_a_terminal(*arguments: str, columns: int = 80, **variables: str) -> Iterator[list[object]]:
    """Run the sleeper at a terminal; yields its process and the end of the terminal to read."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", **variables}
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPER, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env=environment,
    )
    os.close(theirs)
    try:
        yield [process, ours]
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def has_more(ours: int) -> bool:
    """Return whether a terminal shows more within half a minute."""
    polled = select.poll()
    polled.register(ours, select.POLLIN | select.POLLHUP)
    return bool(polled.poll(30_000))


def read_until(ours: int, text: bytes | None, before: bytes = b"") -> bytes:
    """Return what a terminal shows until a text comes, or its end."""
    shown = before
    with contextlib.suppress(OSError):
        while (text is None or text not in shown) and has_more(ours):
            block = os.read(ours, 65536)
            if not block:
                break
            shown += block
    return shown


def shown_by(*arguments: str, columns: int = 80, **variables: str) -> str:
    with at_a_terminal(*arguments, columns=columns, **variables) as (_, ours):
        assert isinstance(ours, int)
        return read_until(ours, None).decode("utf-8")


def test_a_line_is_drawn_and_is_gone_at_the_end() -> None:
    shown = shown_by("3")
    assert "1 of 2 reading the files" in shown
    assert re.search(r"2 of 2 writing .*━.* \d s left", shown), shown
    assert shown.endswith(ERASE)


def test_a_narrow_terminal_has_the_line_on_one_line() -> None:
    drawn = shown_by("3", columns=40).split(ERASE)
    assert any("writing" in line for line in drawn)
    assert max(map(len, drawn)) < 40


def test_nothing_is_drawn_for_what_is_short_or_quiet_or_at_a_dumb_terminal() -> None:
    assert shown_by("0.5") == ""
    assert shown_by("2.5", "--quiet") == ""
    assert shown_by("2.5", TERM="dumb") == ""
    piped = subprocess.run(
        [sys.executable, "-c", SLEEPER, "2.5"],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"},
        check=True,
    )
    assert piped.stderr == b""


def test_there_is_no_colour() -> None:
    assert set(re.findall(r"\x1b\[[0-9;]*[A-Za-z]", shown_by("2.5", NO_COLOR="1"))) == {"\x1b[J"}


def test_a_notice_stands_on_a_line_of_its_own() -> None:
    shown = shown_by("4", "notice")
    assert "left" in shown.split("a notice")[0] or "s" in shown.split("a notice")[0]
    assert shown.split("a notice")[0].endswith(ERASE)
    assert shown.split("a notice")[1].startswith("\r\n")


def test_ctrl_c_leaves_a_clean_line() -> None:
    with at_a_terminal("20") as (process, ours):
        assert isinstance(ours, int)
        assert isinstance(process, subprocess.Popen)
        before = read_until(ours, b"reading the files")
        process.send_signal(signal.SIGINT)
        shown = read_until(ours, None, before).decode("utf-8")
    assert shown.endswith(f"{ERASE}stopped\r\n")


class Terminal(io.StringIO):
    """A terminal that is not there."""

    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


@given(
    width=st.integers(10, 200),
    rows=st.integers(0, 10**9),
    total=st.none() | st.integers(1, 10**9),
    seconds_left=st.none() | st.floats(0, 10**6),
    place=st.integers(-1, 20),
)
def test_the_line_is_never_wider_than_the_terminal(
    width: int, rows: int, total: int | None, seconds_left: float | None, place: int
) -> None:
    marks = work_of_import(["a.csv"], None, Path("none"))
    line = Line(marks, Terminal())
    line.estimate.place = min(place, len(marks) - 1)
    line.number, line.total, line.left = rows, total, seconds_left
    text = line.text(line.began + 5, width)
    assert len(text) < width
    if width >= 80 and seconds_left is not None:
        assert text.endswith(f"{duration(seconds_left)} left")


def test_a_terminal_made_narrower_is_cleared_of_all_lines() -> None:
    line = Line(works.CHECK, Terminal())
    line._drawn_columns = 79
    assert line._erasing(80) == ERASE
    assert line._erasing(40) == "\x1b[1A" + ERASE
    assert line._erasing(20) == "\x1b[3A" + ERASE


@given(
    seconds=st.lists(st.floats(0.05, 5), min_size=6, max_size=25),
    pace=st.floats(0.3, 30),
    blur=st.lists(st.floats(0.93, 1.07), min_size=25, max_size=25),
)
def test_the_time_left_is_true_for_the_last_two_thirds(
    seconds: list[float], pace: float, blur: list[float]
) -> None:
    """Also on a machine that is far faster or slower than the one that was measured."""
    whole = sum(seconds)
    marks = [Mark(f"m{chr(97 + at)}", weight) for at, weight in enumerate(seconds)]
    took = [weight * pace * error for weight, error in zip(seconds, blur, strict=False)]
    end = sum(took)
    if end < 10 or max(seconds) > whole / 5:
        return
    estimate, begin = TimeLeft(marks, 0), 0.0
    for mark, lasts in zip(marks, took, strict=True):
        estimate.enter(mark.name, begin)
        for tick in range(20):
            at_s = begin + lasts * tick / 20
            seconds_left = estimate.left_s(at_s)
            if at_s > end / 3 and seconds_left is not None:
                assert abs(seconds_left - (end - at_s)) <= max(
                    0.3 * (end - at_s), 1.0, 0.15 * max(took)
                )
        begin += lasts


def test_what_does_not_come_is_passed_over() -> None:
    estimate = TimeLeft([Mark("a", 2), Mark("b", 100), Mark("c", 2)], 0)
    estimate.enter("a", 0)
    estimate.enter("c", 2)
    seconds_left = estimate.left_s(3)
    assert seconds_left == pytest.approx(1, abs=0.2)
    assert not estimate.enter("b", 3)


def test_what_took_its_time_before_takes_it_again() -> None:
    """An import that is made again: nothing else says how long it takes."""
    estimate = TimeLeft([Mark("copying", 1), Mark("replaying", 1, timed=True)], 0)
    estimate.weigh("replaying", 40)
    estimate.enter("copying", 0)
    estimate.enter("replaying", 0.2)
    assert estimate.left_s(10.2) == pytest.approx(30)
    estimate.begin_span(Share(0.5, 1), 40.2)  # half of it took twice as long
    assert estimate.left_s(40.2) == pytest.approx(40)


def test_what_nobody_can_foretell_has_no_time_left_and_says_nothing_about_the_rest() -> None:
    marks = [Mark("a", 1, foretold=False), Mark("b", 2), Mark("c", 4)]
    estimate = TimeLeft(marks, 0)
    estimate.enter("a", 0)
    estimate.reach(0.5, 50)
    assert estimate.left_s(50) is None
    estimate.enter("b", 100)
    assert estimate.left_s(101) is None
    estimate.enter("c", 102)
    assert estimate.left_s(102) == pytest.approx(4)


def test_the_steps_of_a_command_within_a_command_are_its_own() -> None:
    line = Line(works.REPLAY, Terminal())
    with channel.watching(line):
        channel.step("replaying")
        with channel.watching(None):
            assert not channel.is_watched()
            channel.step("putting")
            channel.part(1, 2)
        assert channel.is_watched()
    assert (line.estimate.marks[line.estimate.place].name, line.estimate.share) == ("replaying", 0)


def test_a_dry_run_does_not_count_what_it_does_not_write() -> None:
    names = [mark.name for mark in work_of_import(["a.csv"], None, Path("none"), dry_run=True)]
    assert names[-1] == "examples"
    assert not {"writing", "write row", "history", "calculating"} & set(names)


def test_parts_and_statements_say_how_far_a_mark_is() -> None:
    estimate = TimeLeft(
        [Mark("a", 1, shares={"": Share(0, 0.5), "x#": Share(0.5, 1, since=0.5)})], 0
    )
    estimate.enter("a", 0)
    estimate.reach_by_statement("", 0.5, 5)
    assert estimate.left_s(5) == pytest.approx(15)
    estimate.reach_by_statement("x7", 0.5, 10)
    assert estimate.share == pytest.approx(0.5)
    estimate.reach_by_statement("x7", 0.75, 15)
    assert estimate.left_s(15) == pytest.approx(5)
    parts = TimeLeft([Mark("a", 1)], 0)
    parts.enter("a", 0)
    parts.begin_span(Share(0.5, 1), 10)
    assert parts.left_s(10) == pytest.approx(10)
    assert parts.left_s(15) == pytest.approx(5)


def test_durations() -> None:
    assert [duration(s) for s in (0, 59.4, 60, 185, 7800)] == [
        "1 s",
        "59 s",
        "1 min 00 s",
        "3 min 05 s",
        "2 h 10 min",
    ]


def make_store(folder: Path) -> None:
    lines = "".join(f"C{n},c{n}@x.com,{n}\n" for n in range(50))
    (folder / "a.csv").write_text("customer_id,email,tier\n" + lines)
    (folder / "ids.txt").write_text("customer_id\nC1\n")
    assert call(*["import", "a.csv", "--feed", "f"], folder=folder).exit_code == 0
    assert call(*["audiences", "add", "all"], "tier exists", folder=folder).exit_code == 0


store = made_once(make_store)
STEPS = {
    "import a.csv --feed f --again": {"reading", "sift", "resolve", "merge", "writing", "write row",
        "history", "calculating"},
    "export profiles -o p.jsonl": {"choosing", "exporting"},
    "export identities --format csv -o i.csv": {"choosing", "exporting"},
    "lookup ids.txt -o found.jsonl": {"reading", "answering"},
    "check": {"readable", "_wrong_indexes", "_shared_identities"},
    "compact --keep 0": {"copying", "putting"},
    "audiences refresh": {"calculating"},
    "calculated recalculate": {"calculating"},
    "backup b.duckdb": {"copying", "reading back"},
    "forget --customer-id C1 --yes": {"finding", "copying", "verifying", "putting"},
}  # fmt: skip


@pytest.mark.parametrize("command", STEPS)
def test_every_long_command_says_what_it_is_at(
    tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, steps = store(tmp_path), set()
    monkeypatch.setattr(screen, "redraws", lambda stream: True)
    monkeypatch.setattr(Line, "step", lambda line, name: steps.add(name))
    result = call(*command.split(), folder=folder)
    assert result.exit_code == 0, result.output
    assert steps >= STEPS[command]
    assert not channel.is_watched()


def test_every_step_of_a_command_has_its_weight() -> None:
    """A name that is in the code only, or in the table only, would be time that nobody counts."""
    code = "".join(
        file.read_text() for file in (ROOT / "profilectl").rglob("*.py") if file.name != "works.py"
    )
    for marks in (works.CHECK, works.COMPACT, works.BACKUP, works.FORGET, works.EXPORT):
        for mark in marks:
            kind = mark.name.removeprefix("write ")
            assert f'"{mark.name}"' in code or mark.name in code or f'"{kind}"' in code, mark.name
    for mark in work_of_import(["a.csv"], None, Path("none")):
        kind = mark.name.removeprefix("write ")
        assert f'"{mark.name}"' in code or f'"{kind}"' in code, mark.name


def test_duckdb_counts_only_for_somebody_who_watches() -> None:
    setting = "select current_setting('enable_progress_bar')"
    assert connect().execute(setting).fetchone() == (False,)
    with channel.watching(Line(works.CHECK, Terminal())):
        assert connect().execute(setting).fetchone() == (True,)


def test_the_same_comes_of_an_import_that_is_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "".join(f"C{n % 700},c{n % 900}@x.com,{n}\n" for n in range(3000))
    (tmp_path / "a.csv").write_text("customer_id,email,tier\n" + lines)
    reports = []
    for name in ("plain", "watched"):
        if name == "watched":
            monkeypatch.setattr(screen, "redraws", lambda stream: True)
            monkeypatch.setattr(module, "APPEARS_S", 0.0)
            monkeypatch.setattr(module, "EVERY_S", 0.01)
        words = ("--store", f"{name}.duckdb", "import", "a.csv", "--feed", "f", "--json")
        result = call(*words, folder=tmp_path)
        assert result.exit_code == 0, result.output
        reports.append(re.sub(r'"(\w*_ms|seconds)": [\d.]+|"\w*path": .*', "", result.stdout))
    assert reports[0] == reports[1]
