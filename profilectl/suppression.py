"""Who was erased and stays out, as SQL: the set-based twin of interpreter.Interpreter.suppressed.

The store knows them by hashes only (store.suppressed), made as those of the identities in its indexes.
"""

from __future__ import annotations

from profilectl.codes import CODES
from profilectl.feed import ENVIRONMENTS
from profilectl.identity import BY_NAME, NAME, WHITE_SPACE, Judging
from profilectl.identity_sql import folded, key, placeholder
from profilectl.scratch import Scratch, quote_text
from profilectl.segments import MPID_TYPE, identity_hash

NOTE = "(erased)"
"""What stands for the text of a reject that names somebody erased."""
# The text of a row is taken apart twice: at whatever ends a word, and at what ends a cell or a JSON string.
WORDS = r"""[\s,;|"'{}\[\]()<>=\\:]+"""
CELLS = r"""["{}\[\],;|\t\r\n]+"""


def store_suppresses(scratch: Scratch) -> bool:
    """Say whether anybody was erased from the attached store: if not, no row need be held against the list."""
    return bool(scratch.row("select count(*) from store.suppressed")[0])


def suppress(scratch: Scratch, first: int) -> None:
    """Make `suppressed_hash`: of identities and MPIDs whose rows stay out that arrive from `first` on."""
    scratch.make("suppressed_hash", "select distinct hash, type from store.suppressed where until is null or until > $first", {"first": first})


def without_text(named: str) -> str:
    """Return the replacements of a SELECT of rejects, for those that meet a condition: code and line stay."""
    sentences = " ".join(f"when {quote_text(code)} then {quote_text(one.sentence)}" for code, one in CODES.items())
    return f"case when {named} then case code {sentences} else '' end else message end as message, case when {named} then '{NOTE}' else raw end as raw"


def clear_rejects(scratch: Scratch, first: int, judging: Judging) -> None:
    """Take the text out of those of `ready_reject` that name somebody erased: it would come back with them.

    A row that could not be used was not understood either: its text is looked through word by word. A placeholder that
    somebody erased once had for an identity names nobody.
    """
    suppress(scratch, first)
    kinds = [NAME[code] for (code,) in scratch.rows(f"select distinct type from suppressed_hash where type <> {MPID_TYPE} order by type")]
    if not kinds:
        return
    (secret,) = scratch.row("select value from store.meta where name = 'secret'")
    scratch.make(
        "reject_word",
        "select distinct place, trim(word, $blanks) as word from (select rowid as place, unnest(list_concat("
        "string_split_regex(raw, $words), string_split_regex(raw, $cells))) as word from ready_reject) where word <> ''",
        {"blanks": WHITE_SPACE, "words": WORDS, "cells": CELLS},
    )
    named = " or ".join(
        f"{identity_hash(secret, quote_text(environment), kind, key(BY_NAME[kind], 'word'))} in (select hash from suppressed_hash)"
        for kind in kinds for environment in ENVIRONMENTS
    )
    nothing = placeholder(folded("word"), judging) or "false"
    scratch.make("named_reject", f"select distinct place from reject_word where not ({nothing}) and ({named})")
    if scratch.count("named_reject"):
        scratch.make("cleared_reject", f"select * replace ({without_text('rowid in (select place from named_reject)')}) from ready_reject")
        scratch.rename("cleared_reject", "ready_reject")
