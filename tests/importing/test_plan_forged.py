"""A plan is vouched for by its store, and however it is forged it ends in words."""

from __future__ import annotations

import copy
import hashlib
import json
import random
from pathlib import Path
from typing import Any

import duckdb
import pytest
from support.doors import call

from profilectl.codes import Exit, InputRefused, PlanMoved, ProfilectlError, UsageError
from profilectl.importing.plans.plan import sealed

FIRST = "customer_id,email,tier\nA,a@x.org,gold\nB,b@x.org,lead\n"
SECOND = "customer_id,email,tier\nA,a@x.org,lead\nC,c@x.org,\n,,x\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    (folder / "a.csv").write_text(FIRST)
    (folder / "b.csv").write_text(SECOND)
    assert (
        call(
            "--store", "new.duckdb", "plan", "b.csv", "--feed", "f", "-o", "new.plan", folder=folder
        ).exit_code
        == 3
    )
    assert call("import", "a.csv", "--feed", "f", folder=folder).exit_code == 0
    assert call("plan", "b.csv", "--feed", "f", "-o", "b.plan", folder=folder).exit_code == 3
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    for name in ("b.csv", "profiles.duckdb", "new.plan", "b.plan"):
        (tmp_path / name).write_bytes((made / name).read_bytes())
    return tmp_path


def failure(*arguments: str, folder: Path) -> ProfilectlError:
    error = call(*arguments, folder=folder).exception
    assert isinstance(error, ProfilectlError), (arguments, error)
    return error


def plan_of(folder: Path, name: str = "b.plan") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / name).read_text())
    return found


def put(folder: Path, plan: object, name: str = "b.plan") -> None:
    (folder / name).write_text(json.dumps(plan))


def plainly_sealed(plan: dict[str, Any]) -> dict[str, Any]:
    """Return a plan with the seals that anybody can make: the plain hash that plans had once, and
    that of no store.
    """
    said = {name: value for name, value in plan.items() if name != "seal"}
    return {**plan, "seal": hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()}


@pytest.mark.parametrize(
    "seal",
    [plainly_sealed, lambda plan: {**plan, "seal": sealed(plan, "")}],
    ids=["plain hash", "no secret"],
)
def test_a_plan_cannot_be_edited_and_sealed_again_without_the_store(
    seal: Any, folder: Path
) -> None:
    before = (folder / "profiles.duckdb").read_bytes()
    plan = plan_of(folder)
    plan["request"]["protection"] = "update-only"
    put(folder, seal(plan))
    for arguments in (("apply", "b.plan"), ("plan", "show", "b.plan")):
        error = failure(*arguments, folder=folder)
        assert isinstance(error, InputRefused)
        assert "b.plan was changed after it was made" in error.message
    assert (folder / "profiles.duckdb").read_bytes() == before


def test_the_seal_of_a_plan_does_not_hold_for_another_store(folder: Path) -> None:
    (folder / "other").mkdir()
    (folder / "a.csv").write_text(FIRST)
    assert (
        call("--store", "other/s.duckdb", "import", "a.csv", "--feed", "f", folder=folder).exit_code
        == 0
    )
    error = failure("--store", "other/s.duckdb", "apply", "b.plan", folder=folder)
    assert isinstance(error, PlanMoved)
    assert "the store is another one" in error.message
    shown = call("--store", "other/s.duckdb", "plan", "show", "b.plan", folder=folder)
    assert shown.exit_code == 0
    assert "nothing vouches for the plan" in shown.stderr
    with duckdb.connect(str(folder / "other" / "s.duckdb"), read_only=True) as store:
        assert store.execute("select count(*) from import").fetchall() == [(1,)]


def test_a_plan_made_before_there_was_a_store_says_that_nothing_vouches_for_it(
    folder: Path,
) -> None:
    made = call(
        "--store", "new.duckdb", "plan", "b.csv", "--feed", "f", "-o", "n.plan", folder=folder
    )
    assert "nothing vouches for the plan" in made.stderr
    shown = call("plan", "show", "n.plan", folder=folder)
    assert (shown.exit_code, "nothing vouches for the plan" in shown.stderr) == (0, True)
    assert call("--store", "new.duckdb", "apply", "n.plan", folder=folder).exit_code == 3


def test_a_plan_without_a_store_is_not_applied_to_one_that_could_have_signed_it(
    folder: Path,
) -> None:
    plan = plan_of(folder)
    plan["state"]["store"] = None
    put(folder, {**plan, "seal": sealed(plan, "")})
    error = failure("apply", "b.plan", folder=folder)
    assert isinstance(error, PlanMoved)
    assert "was made since, and did not sign it" in error.message


def test_a_plan_of_the_form_that_was_not_signed_is_refused_in_words(folder: Path) -> None:
    plan = plan_of(folder)
    put(folder, plainly_sealed({**plan, "profilectl_plan": 1}))
    for arguments in (("apply", "b.plan"), ("plan", "show", "b.plan")):
        error = failure(*arguments, folder=folder)
        assert "which did not sign it" in error.message
        assert "profilectl plan" in error.hint


def test_a_plan_whose_store_is_gone_is_not_applied(folder: Path) -> None:
    (folder / "profiles.duckdb").unlink()
    assert isinstance(failure("apply", "b.plan", folder=folder), PlanMoved)
    assert not (folder / "profiles.duckdb").exists()
    assert "nothing vouches" in call("plan", "show", "b.plan", folder=folder).stderr


TEXTS = {
    "duplicate key": lambda text: text.replace('"feed": "f"', '"feed": "f", "feed": "f"', 1),
    "NaN": lambda text: text.replace('"elapsed_ms": ', '"elapsed_ms": NaN, "x": ', 1),
    "infinity": lambda text: text.replace('"erasure": 0', '"erasure": 1e999', 1),
    "huge number": lambda text: text.replace('"erasure": 0', '"erasure": ' + "9" * 5000, 1),
    "nesting": lambda text: text.replace(
        '"settings": {}', '"settings": ' + '{"a":' * 900 + "1" + "}" * 900, 1
    ),
    "deeper nesting": lambda text: text.replace(
        '"settings": {}', '"settings": ' + "[" * 100_000 + "]" * 100_000, 1
    ),
    "another encoding": lambda text: text.encode("utf-16").decode("latin-1"),
    "half of it": lambda text: text[: len(text) // 2],
    "twice": lambda text: text + text,
}


@pytest.mark.parametrize("name", ["b.plan", "new.plan"])
@pytest.mark.parametrize("what", TEXTS)
def test_a_text_that_no_plan_has_is_refused(what: str, name: str, folder: Path) -> None:
    text = (folder / name).read_text()
    (folder / "x.plan").write_text(TEXTS[what](text), encoding="latin-1")
    assert (folder / "x.plan").read_text(encoding="latin-1") != text
    store = ("--store", "new.duckdb") if name == "new.plan" else ()
    for arguments in (
        ("apply", "x.plan"),
        ("plan", "show", "x.plan"),
        ("plan", "show", "x.plan", "--json"),
    ):
        assert "x.plan is not a plan" in failure(*store, *arguments, folder=folder).message


def test_a_plan_that_is_no_file_or_too_large_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "d").mkdir()
    for name in ("d", "none.plan"):
        assert failure("apply", name, folder=folder).exit == Exit.REFUSED
    monkeypatch.setattr("profilectl.importing.plans.plan_form.LARGEST", 100)
    assert "it is larger than" in failure("plan", "show", "b.plan", folder=folder).message


ODD: list[Any] = [
    None,
    True,
    -1,
    1.5,
    10**30,
    "",
    "x",
    "\0",
    "\ud800",
    "/dev/null",
    [],
    ["x"],
    [[1]],
    [None],
    {},
    {"x": 7},
    {"NOBODY": 1},
    {"NO_IDENTITY": "x"},
    [{"file": 1}],
]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return ([path] if path else []) + [
        deeper for key, one in inner for deeper in places(one, (*path, key))
    ]


def forged(
    plan: dict[str, Any], place: tuple[Any, ...], value: Any, *, gone: bool = False
) -> dict[str, Any]:
    """Return a plan with something else at a place, and the seal that anybody can make."""
    plan = copy.deepcopy(plan)
    inside: Any = plan
    for key in place[:-1]:
        inside = inside[key]
    if gone:
        del inside[place[-1]]
    else:
        inside[place[-1]] = value
    if place != ("seal",):
        plan["seal"] = sealed(plan, "")
    return plan


def ends_in_words(folder: Path, plan: dict[str, Any], what: object) -> None:
    put(folder, plan, "x.plan")
    for arguments in (("plan", "show", "x.plan"), ("apply", "x.plan")):
        done = call("--store", "new.duckdb", *arguments, folder=folder)
        (folder / "new.duckdb").unlink(missing_ok=True)
        if done.exception is not None:
            assert isinstance(done.exception, ProfilectlError | SystemExit), (
                what,
                arguments,
                done.exception,
            )
        assert done.exit_code in (0, 1, 3), what  # 1 is what the runner has for an error in words


def fuzzed(folder: Path, seed: int, times: int) -> None:
    """Forge a plan that nothing signs: what is wrong in it must be found, since no seal does."""
    plan = plan_of(folder, "new.plan")
    everywhere, chance = places(plan), random.Random(seed)
    for _ in range(times):
        place = chance.choice(everywhere)
        value, gone = chance.choice(ODD), chance.random() < 0.15
        ends_in_words(folder, forged(plan, place, value, gone=gone), (place, value, gone))


def test_a_plan_forged_anywhere_ends_in_words(folder: Path) -> None:
    fuzzed(folder, 1, 40)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 12))
def test_a_plan_forged_anywhere_a_hundred_times_ends_in_words(seed: int, folder: Path) -> None:
    fuzzed(folder, seed, 100)


def test_the_secret_of_the_store_is_in_no_plan(folder: Path) -> None:
    with duckdb.connect(str(folder / "profiles.duckdb"), read_only=True) as store:
        (secret,) = store.execute("select value from meta where name = 'secret'").fetchall()[0]
    assert secret not in (folder / "b.plan").read_text()
    assert plan_of(folder)["seal"] == sealed(plan_of(folder), secret)


def test_a_workspace_that_is_another_is_still_refused(folder: Path) -> None:
    assert isinstance(
        failure("--workspace", "eu", "apply", "b.plan", folder=folder),
        InputRefused | PlanMoved | UsageError,
    )
