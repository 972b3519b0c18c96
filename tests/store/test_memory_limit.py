"""A memory limit is the process's: what Python takes is not DuckDB's to use."""

from __future__ import annotations

import pytest

from profilectl.store.scratch import connect


@pytest.mark.parametrize(
    ("option", "share"),
    [
        ("2GB", "1.4 GiB"),
        ("2GiB", "1.5 GiB"),
        ("1000 MB", "686.6 MiB"),
        ("200MB", "190.7 MiB"),  # too little to share
    ],
)
def test_duckdb_gets_what_python_leaves(option: str, share: str) -> None:
    connection = connect(option)
    (limit,) = connection.execute("select current_setting('memory_limit')").fetchone() or ()
    connection.close()
    assert limit == share
