"""The profiles with several rows are those that a group by profile finds."""

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from support.effort import at_length
from support.histories import History, histories
from support.played_histories import declare, opened, request_for

from profilectl.importing.run import import_files
from profilectl.profiles.read_model import profiles_of
from profilectl.reading.several_rows import rows_of_several, tell_several
from profilectl.store.segments import of_each
from profilectl.store.statements import union


def compared(path: Path) -> int:
    """Compare both ways in a store; return how many profiles have several rows."""
    with opened(path) as store:
        scratch, segments = store.scratch, store.segments()
        if not segments:
            return 0
        rows = of_each(segments, "row", "profile, arrival")
        grouped = f"select profile, count(*) as rows from ({union(rows)}) group by profile"
        several = f"{grouped} having count(*) > 1"
        assert sorted(scratch.rows(rows_of_several(segments))) == sorted(scratch.rows(several))
        loose = union([*rows, *of_each(segments, "loose", "profile, arrival")])
        tell_several(profiles_of(store, every=True))
        told = scratch.rows("select profile from with_several order by profile")
        among = f"select profile from ({loose}) group by profile having count(*) > 1 order by 1"
        assert told == scratch.rows(among)
        return len(told)


def test_they_are_told_by_arrivals() -> None:
    found = 0

    @settings(
        max_examples=at_length(5, by_night=300),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
    )
    @given(histories())
    def compare(history: History) -> None:
        nonlocal found
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / "profiles.duckdb"
            declare(path, history)
            for number, one in enumerate(history.imports):
                import_files(path, request_for(Path(place), number, one))
            found += compared(path)

    compare()
    assert found
