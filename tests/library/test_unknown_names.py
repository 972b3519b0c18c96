"""The library refuses a name that there is not, as the command line does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.effort import spread_now

from profilectl import Store
from profilectl.codes import UsageError

CALLS: dict[str, tuple[dict[str, str], str]] = {
    "export": ({"environment": "prod"}, "production"),
    "lookup": ({"environment": "prod"}, "production"),
    "import": ({"environment": "prod"}, "production"),
    "import protection": ({"protection": "update"}, "update-only"),
    "import source": ({"source": "acount"}, "account"),
}


def called(store: Store, door: str, file: Path, options: dict[str, str]) -> Any:
    if door == "export":
        return store.export(**options)
    if door == "lookup":
        return store.lookup(["A"], **options)
    return store.import_files(file, feed="x", **options)


@pytest.mark.parametrize("what", spread_now(CALLS, 3))
def test_it_is_wrong_usage(what: str, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("customer_id,tier\nA,gold\n")
    store = Store(tmp_path / "profiles.duckdb")
    store.import_files(file, feed="crm")
    options, near = CALLS[what]
    with pytest.raises(UsageError) as refused:
        called(store, what.split(maxsplit=1)[0], file, options)
    assert f"there is no {' '.join(*options.items())}" in str(refused.value)
    assert near in refused.value.hint
    assert store.export("imports").num_rows == 1
