"""Lines of JSON without the blank that most programs write after each colon and comma.

They are the same JSON, and their blanks are gone before anything looks at them: the events in them
have the spelling that is stored, and all bytes of a line are accounted for at once. A line that
could be changed by that in a string stays as it is.
"""

from __future__ import annotations

from profilectl.importing.stage.template import SqlTemplate
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.scratch import Scratch

SAMPLE = 1000
"""How many lines, spread over the file, are looked at for such blanks."""
# The quote that begins a string with a colon and a blank, and the quote that ends one with a comma
# and a blank, each known by its neighbour. Other texts may look like that: their lines keep their
# blanks.
_IN_STRING = r"""[{\[,: \t\r]": |, "[:,}\] \t\r]|, \{"[:,}\] \t\r]"""

# How many lines of a sample there are, and how many of them have a blank after a key.
BLANKS = SqlTemplate("""
select count(*), count_if(contains(line, '": '))
from {lines}
where rowid % {step} = 0
""")
# The lines without blanks after a key, and before a key, a string or an object behind a comma. Only
# in a line without escapes is each quote the beginning or the end of a string.
WITHOUT_BLANKS = SqlTemplate("""
select rowid,
       case
         when contains(line, '\\') or regexp_matches(line, {in_string}) then line
         else replace(replace(replace(line, '": ', '":'), ', "', ',"'), ', {"', ',{"')
       end as line
from {lines}
""")


def without_blanks(scratch: Scratch, lines: str, bare: str) -> str:
    """Return the relation of the lines (rowid, line) in which to look for what they say.

    That is `lines`, or a view `bare` of them, if most of its lines have blanks.
    """
    step = max(1, scratch.count(lines) // SAMPLE)
    count, with_blanks = scratch.row(BLANKS(lines=lines, step=step))
    if 2 * with_blanks <= count:
        return lines
    select = WITHOUT_BLANKS(in_string=quote_text(_IN_STRING), lines=lines)
    scratch.make(bare, select, keep=False)
    return bare
