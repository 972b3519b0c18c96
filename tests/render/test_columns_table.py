"""The table of columns at any width: no word and no number in it is cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from profilectl.importing.columns.suggestions import Suggestion
from profilectl.importing.columns.tables import ColumnTable, TableColumn
from profilectl.render.columns import table_lines
from profilectl.rules.batch_fields import BatchField

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


@given(st.lists(columns(), min_size=1, max_size=3))
def test_a_value_is_shown_whole_or_by_its_first_words(drawn: list[TableColumn]) -> None:
    table = ColumnTable(("a.csv",), "csv", rows=2, columns=tuple(drawn), batches=False)
    text = "\n".join(table_lines(table, 200))
    for column in drawn:
        if column.values:
            shown = column.values[0]
            assert shown in text or f"... ({len(shown):,} characters)" in text
