"""The table of columns at any width: no word and no number in it is cut."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profilectl.importing.columns.suggestions import Suggestion
from profilectl.importing.columns.tables import ColumnTable, TableColumn
from profilectl.render.columns import table_lines
from profilectl.rules.batch_fields import BatchField

UNHURRIED = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
"""A machine that does other things too draws slowly."""
WORD = st.text("abcDEF019_.@-é", min_size=1, max_size=40)
TEXT = st.lists(WORD, min_size=1, max_size=6).map(" ".join)
WORDS = (
    "a.csv (CSV): 1 2 3 column columns, values of the first row rows becomes kind an identity?"
    " --map identity attribute (text) (number) ... column,"
)


@st.composite
def columns(draw: st.DrawFn) -> TableColumn:
    """Draw a column with a name, values, and perhaps a suggestion."""
    name = draw(TEXT)
    return TableColumn(
        name=name,
        field=BatchField(draw(st.sampled_from(["identity", "attribute"])), draw(TEXT)),
        kinds=("text",),
        look=draw(st.sampled_from(["", "number"])),
        filled=1,
        values=tuple(draw(st.lists(TEXT, max_size=8))),
        suggested=Suggestion("identity", "email") if draw(st.booleans()) else None,
        option=f'--map "{name}=email"',
    )


@UNHURRIED
@given(st.lists(columns(), min_size=1, max_size=3), st.integers(40, 160))
def test_every_word_is_whole_and_every_line_fits(drawn: list[TableColumn], width: int) -> None:
    table = ColumnTable(("a.csv",), "csv", rows=2, columns=tuple(drawn), batches=False)
    whole = set(WORDS.split())
    for column in drawn:
        whole.update(column.name.split(), column.field.name.split(), column.option.split())
        # Behind a value there may be a comma, or how long a value is of which a part is shown.
        whole.update(
            word + end for value in column.values for word in value.split() for end in ",\0"
        )
        whole.update(f"({len(value):,}" for value in column.values)
    whole = {word.rstrip("\0") for word in whole} | {"characters)"}
    for line in table_lines(table, width):
        assert not set(line.split()) - whole, line
        # Only a word that is wider than the terminal, or an option that is to be copied, goes on.
        longest = max(map(len, line.split()))
        assert len(line) <= width or "--map" in line or longest > width - 60, line


@UNHURRIED
@given(st.lists(columns(), min_size=1, max_size=3))
def test_a_value_is_shown_whole_or_by_its_first_words(drawn: list[TableColumn]) -> None:
    table = ColumnTable(("a.csv",), "csv", rows=2, columns=tuple(drawn), batches=False)
    text = "\n".join(table_lines(table, 200))
    for column in drawn:
        if column.values:
            shown = column.values[0]
            assert shown in text or f"... ({len(shown):,} characters)" in text


def test_the_headings_stand_in_one_line_and_are_as_short_as_their_values() -> None:
    column = TableColumn(
        name="properties.app.version",
        field=BatchField("attribute", "properties.app.version"),
        kinds=("number",),
        look="",
        filled=1,
        values=("3.9", "4.9"),
        suggested=None,
        option="",
    )
    table = ColumnTable(("a.csv",), "csv", rows=2, columns=(column,), batches=False)
    for width, last in ((90, "first values"), (76, "values")):
        lines = list(table_lines(table, width))
        assert [line.split("  ")[-1] for line in lines] == [
            "a.csv (CSV): 1 column, values of the first 2 rows",
            last,
            "3.9, 4.9",
        ]


def test_a_wide_terminal_has_room_for_long_names() -> None:
    name = "events.data.custom_attributes.campaign"
    column = TableColumn(
        name=name,
        field=BatchField("event", name),
        kinds=("text",),
        look="",
        filled=1,
        values=("a",),
    )
    table = ColumnTable(("a.csv",), "csv", rows=2, columns=(column,), batches=False)
    assert list(table_lines(table, 140))[2:] == [f"{name}  {name}  event (text)  a"]


def test_a_title_that_goes_on_is_indented() -> None:
    table = ColumnTable((f"{'a' * 30}.csv",), "csv", rows=2, columns=(), batches=False)
    assert list(table_lines(table, 60))[:2] == [
        f"{'a' * 30}.csv (CSV): 0 columns, values",
        "  of the first 2 rows",
    ]


def test_the_values_of_a_long_name_stand_behind_its_kind() -> None:
    name = "events.data.custom_attributes.campaign"
    column = TableColumn(
        name=name,
        field=BatchField("event", name),
        kinds=("text",),
        look="",
        filled=1,
        values=("sale", "winter"),
    )
    table = ColumnTable(("a.csv",), "csv", rows=2, columns=(column,), batches=False)
    assert list(table_lines(table, 60))[2:] == [
        name,
        f"        {name}",
        "                 event (text)  sale, winter",
    ]
