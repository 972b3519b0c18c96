"""The columns of files, and the warning of what becomes final, as a program sees them."""

from __future__ import annotations

import warnings
from pathlib import Path

import pyarrow
import pytest
from support.doors import run_here

from profilectl import Store
from profilectl.codes import InputRefused, UsageError
from profilectl.store.compaction import BecomesFinal


def test_the_columns_of_a_file_need_no_store(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Contacts\nRef;First Name\nC-1;Ann\nC-2;Bob\n")
    store = Store(tmp_path / "none.duckdb")
    with pytest.raises(InputRefused, match="looks like a title"):
        store.columns(tmp_path / "a.csv")
    (table,) = store.columns(tmp_path / "a.csv", skip_lines=1, mapping={"Ref": "customer_id"})
    assert (table.rows_read, table.names_somebody) == (2, True)
    ref, first_name = table.columns
    assert (ref.name, ref.becomes) == ("Ref", "user_identities.customer_id")
    assert (first_name.first_values, first_name.suggested) == (("Ann", "Bob"), "$FirstName")
    assert "Ann" not in repr(table)
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_the_columns_are_read_as_the_feed_remembers(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Ref;tier\nC-1;gold\n")
    store = Store(tmp_path / "profiles.duckdb")
    store.import_files(
        tmp_path / "a.csv", feed="crm", mapping={"Ref": "customer_id"}, remember=True
    )
    (table,) = store.columns(tmp_path / "a.csv", feed="crm")
    assert table.names_somebody
    (table,) = store.columns(tmp_path / "a.csv", feed="crm", mapping={"Ref": "ignore"})
    assert (table.columns[0].becomes, table.names_somebody) == (None, False)
    with pytest.raises(UsageError, match="there is no feed crn"):
        store.columns(tmp_path / "a.csv", feed="crn")


def test_a_misspelled_keyword_of_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="Did you mean 'encoding'"):
        Store(tmp_path / "s").columns("a.csv", encodin="utf-16")  # type: ignore[call-arg]


def test_an_import_that_makes_older_ones_final_warns_before_it_is_written(tmp_path: Path) -> None:
    assert run_here("config", "set", "history.keep=1", folder=tmp_path).returncode == 0
    store = Store(tmp_path / "profiles.duckdb")

    def take(number: int) -> None:
        store.import_table(pyarrow.table({"customer_id": [f"C-{number}"]}), feed="crm")

    with warnings.catch_warnings():
        warnings.simplefilter("error", BecomesFinal)
        for number in range(20):
            try:
                take(number)
            except BecomesFinal:
                break
        else:
            pytest.fail("nothing became final")
    assert len(store.imports()) == number
    with pytest.warns(BecomesFinal, match="cannot be undone any more after this"):
        take(number)
    assert len(store.imports()) == number + 1
