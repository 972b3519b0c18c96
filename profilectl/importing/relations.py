"""The relations of an import: what a row of each is, which columns it has, who makes and reads it.

The steps of an import are SELECTs whose results get names. This is the contract between them: a
step makes relations only through `Relations`, and making one that is not listed here fails
(listed_relations.py). tests/importing/test_relations.py binds every named SELECT against empty
relations made from this list, and checks that an import makes just these.

Of what stage makes of the files only the three relations that it hands on are listed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

Columns = Sequence[tuple[str, str]]
"""Names and SQL types of columns."""
Bound = dict[str, Any]
"""The values that are bound to the names in a statement."""


class Relations(Protocol):
    """Where the steps of an import put their results: what an engine has to do for them."""

    def make(
        self,
        name: str,
        select: str,
        bound: Bound | None = None,
        *,
        keep: bool = True,
        in_order: bool = False,
    ) -> None:
        """Name the result of a SELECT: its rows if `keep`, else the SELECT itself (a view).

        `in_order`: relations are read, and rows are kept, in the order in which they lie.
        """

    def load(self, name: str, columns: Columns, rows: Sequence[Sequence[object]]) -> None:
        """Name a relation of Python rows."""

    def rows(self, select: str, bound: Bound | None = None) -> list[tuple[Any, ...]]:
        """Return all rows of a SELECT: for small results."""

    def count(self, name: str) -> int:
        """Return the number of rows of a relation."""

    def rename(self, name: str, new: str) -> None:
        """Give a relation the name of another, which is forgotten."""

    def drop(self, name: str) -> None:
        """Forget a relation, if it is there."""

    def has(self, name: str) -> bool:
        """Return whether there is a relation of that name."""


class Relation(NamedTuple):
    """What is agreed of a relation."""

    name: str
    """Its name."""
    columns: str
    """Its columns with their types. Those that depend on the files are families: `i_<type>` is a
    column for each identity type, `a<n>` for each attribute with a column of its own. A `?` marks
    a column that is there only if the files have it; of types with a `/` either will do.
    """
    row: str
    """What a row is, in a sentence."""
    made_by: str
    """The module that makes it."""
    read_by: str
    """The other modules that read it."""


# Which rows a relation has: a list of bits, one string of them for each 65,536 rows. To look up the
# bit of a row takes a fifth of a join (0.02 CPU s of 2.8M claims, not 0.12). A longer string would
# be copied for each 2,048 rows that are looked up. The last bit of each is always set, so that
# there is one for blocks without rows.
ROW_BITS = """
select list(bits order by block) as bits
from (
  select block, bitstring_agg(place, 0, 65536) as bits
  from (
    select seq >> 16 as block, seq & 65535 as place from {rows}
    union all
    select range as block, 65536 as place from range($blocks)
  )
  group by block
)
"""
BITS_OF_PLACE = 16
"""The bits of the place of a row in its block: see ROW_BITS."""

# fmt: off
FRAME_FIELDS = "environment? VARCHAR, at_ms? BIGINT"
STAGED_ROW = (
    "seq BIGINT, environment? VARCHAR, mpid? BIGINT, at_ms? BIGINT, request? VARCHAR,"
    " deleted? VARCHAR[], rest? VARCHAR, i_<type> VARCHAR, a<n> VARCHAR"
)
BITS = "bits BIT[]"
IDENTITY_COLUMNS = "hash UHUGEINT, type UTINYINT, profile BIGINT"
SEGMENT_ROW = (
    "profile BIGINT, arrival BIGINT, mpid BIGINT, environment UTINYINT, feed USMALLINT,"
    " at_ms BIGINT, i_<type> VARCHAR, a<n> VARCHAR"
)
MPID_ROW = "mpid BIGINT, environment UTINYINT, profile BIGINT"
FOUNDER_MPID = "seq BIGINT, mpid BIGINT, named BOOLEAN"
REMARK_COLUMNS = "seq BIGINT, code VARCHAR, attribute VARCHAR, type UTINYINT, value VARCHAR"
CELL_EXAMPLE = (
    "seq BIGINT, profile BIGINT, attribute VARCHAR, before VARCHAR, after VARCHAR, code VARCHAR,"
    " refused VARCHAR"
)

# Each step reads what it makes itself too. An identity is named by its hash: 88 bits of type,
# environment and value. A profile is named by the arrival of the row that founded it.
RELATIONS = [
    # The files.
    Relation("staged", STAGED_ROW, "A row of a file.",
             "stage", "sift, sharing, dependence, leaving, answers"),
    Relation("staged_loose", "seq BIGINT, key VARCHAR, value VARCHAR",
             "An attribute without a column that a row sets.", "stage", "merge, leaving, answers"),
    Relation("staged_event", "seq BIGINT, place INTEGER/BIGINT, type VARCHAR, name VARCHAR,"
             " at_ms BIGINT, session VARCHAR, event VARCHAR", "An event of a row.",
             "stage", "sift, commit, leaving"),

    # The store.
    Relation("known_identity", "hash UHUGEINT, profile BIGINT, type UTINYINT, segment INTEGER",
             "An identity that a profile of the store has.",
             "known", "resolve, settle, entangled, answers"),
    Relation("known_mpid", MPID_ROW, "The MPID of a profile of the store.",
             "known", "mpids, answers"),
    Relation("held_mpid", MPID_ROW, "An MPID of the store that is no mix.", "known", "mpids"),
    Relation("named_holder", MPID_ROW, "A profile whose MPID a row names.", "known", "resolve"),
    Relation("known_touch", "profile BIGINT, arrival BIGINT",
             "A row of an earlier import that belongs to a profile.", "known", "entangled"),
    Relation("known_row", "profile BIGINT, arrival BIGINT, mpid BIGINT, environment UTINYINT,"
             " feed USMALLINT, at_ms BIGINT, segment INTEGER, b<n> VARCHAR",
             "A row of an earlier import, with the cells of this import's attributes.",
             "known", "merge"),
    Relation("known_loose", "profile BIGINT, arrival BIGINT, feed USMALLINT, segment INTEGER,"
             " key VARCHAR, value VARCHAR",
             "A cell of an earlier import that has no column.", "known", "merge"),
    Relation("known_loose_cell", "profile BIGINT, arrival BIGINT, feed USMALLINT, segment INTEGER,"
             " key VARCHAR, value VARCHAR",
             "A cell of an earlier import, of an attribute that has no column here.",
             "known", "merge"),
    Relation("known_event_name", "name VARCHAR",
             "The name of an event of the workspace in the store.", "known", "commit"),
    Relation("seen_request", "feed INTEGER, request VARCHAR, at_ms BIGINT, import INTEGER,"
             " arrival BIGINT", "A request that an earlier batch carried.",
             "known", "sift, dependence, answers"),
    Relation("lost_before", "profile BIGINT, hash UHUGEINT, import INTEGER",
             "An identity that an earlier import took from a profile.", "known", "dependence"),
    Relation("suppressed", "hash UHUGEINT, type UTINYINT, until BIGINT",
             "An identity or MPID of somebody erased.", "known", "mpids"),
    Relation("erased_row", "arrival BIGINT", "A row that was erased itself.", "known", "sift"),
    Relation("suppressed_hash", "hash UHUGEINT, type UTINYINT",
             "An identity or MPID whose rows stay out of this import.",
             "known", "sift, suppression, corrections"),

    # Which rows may be used.
    Relation("text_hash", "type UTINYINT, text VARCHAR, hash UHUGEINT, code UTINYINT",
             "What a text of many rows is found by, or why it is nobody's.", "sift", ""),
    Relation("identity_hash", "seq BIGINT, h<n> UHUGEINT, c<n> UTINYINT",
             "What a staged row is found by, by type; or why its identity is nobody's.",
             "sift", "leaving, answers"),
    Relation("time_beside", "seq BIGINT, path VARCHAR, at_ms VARCHAR",
             "A time that a row states of a consent or of a device.", "sift", ""),
    Relation("fault", "seq BIGINT, code VARCHAR, detail VARCHAR, nth INTEGER",
             "A reason for which a row cannot be used.", "sift", ""),
    Relation("rejected", "seq BIGINT, code VARCHAR, detail VARCHAR",
             "A row that cannot be used, and why.", "sift", "decide, rejects, answers"),
    Relation("accepted", STAGED_ROW, "A row that is not rejected.", "sift", ""),
    Relation("suppressed_row", "seq BIGINT",
             "A row that states an identity or MPID of somebody erased.", "sift", ""),
    Relation("candidate", STAGED_ROW, "An accepted row of nobody erased.", "sift", ""),
    Relation("kept_out", "seq BIGINT, code VARCHAR",
             "A candidate that the feed's level or an earlier request keeps out.", "sift", ""),
    Relation("dropped", "seq BIGINT, code VARCHAR", "An accepted row that is kept out, and why.",
             "sift, corrections", "leaving, commit, answers"),
    Relation("usable", STAGED_ROW, "A row that may be applied.",
             "sift", "resolve, mpids, merge, commit, leaving, consenting"),
    Relation("usable_hash", "seq BIGINT, h<n> UHUGEINT, c<n> UTINYINT",
             "What a usable row is found by.", "sift", "resolve, merge"),
    Relation("claim", "seq BIGINT, type UTINYINT, hash UHUGEINT",
             "An identity that a usable row states, in the order of the hashes.",
             "sift, corrections", "resolve, settle, sharing, dependence"),
    Relation("unordered_claim", "seq BIGINT, type UTINYINT, hash UHUGEINT", "A claim.", "sift", ""),
    Relation("shared_value", "hash UHUGEINT, type UTINYINT, seq BIGINT, rows BIGINT",
             "An identity that several rows claim, and the first row.", "sift", "resolve, sharing"),
    Relation("nobodys_cell", "seq BIGINT, c<n> UTINYINT",
             "A row with an identity that is nobody's.", "sift", "merge"),
    Relation("skip_statement", "seq BIGINT, code VARCHAR, attribute VARCHAR",
             "What a file says of a value that was left out, or is worth knowing.", "sift", ""),
    Relation("skipped", "seq BIGINT, code VARCHAR, attribute VARCHAR",
             "A value that was left out of a row which is not rejected, or is worth knowing.",
             "sift", "commit"),
    Relation("identity_statement", "seq BIGINT, code VARCHAR, type UTINYINT, value VARCHAR",
             "An identity that is nobody's, of any row.", "sift", ""),
    Relation("skipped_identity", "seq BIGINT, code VARCHAR, type UTINYINT, value VARCHAR",
             "An identity that is nobody's, of a row which is not rejected.", "sift", "commit"),

    # Whose rows they are.
    Relation("alike_group", "founder BIGINT, rows BIGINT",
             "Rows with the same identities: the first of them, and how many.", "alike", ""),
    Relation("alike_value", "founder BIGINT, type UTINYINT, hash UHUGEINT, rows BIGINT",
             "An identity of such rows that share none with others.", "alike", "resolve, settle"),
    Relation("alike_row", "seq BIGINT, founder BIGINT, added BIGINT",
             "Such a row, that which founds its profile, and the bits it adds.", "alike", "settle"),
    Relation("sharing_row", "seq BIGINT", "A usable row that shares an identity with another row"
             " or with a profile, or names an MPID.", "resolve", "mpids"),
    Relation("sharing_claim", "seq BIGINT, type UTINYINT, hash UHUGEINT",
             "An identity that a sharing row states.", "resolve", "entangled, commit"),
    Relation("sharing_bits", BITS, "Which rows are sharing ones.", "resolve", ""),
    Relation("company_bits", BITS, "Which rows are sharing or alike ones.", "resolve", "settle"),
    Relation("import_start", "first_arrival BIGINT, code VARCHAR",
             "The first arrival, and the code of a row that finds nobody.", "settle", "answers"),
    Relation("lone_row", "seq BIGINT, added BIGINT",
             "A usable row that shares nothing, and the bits of its identities.", "settle", ""),
    Relation("lookup_type", "type UTINYINT", "A type that finds.", "resolve", "alike, commit"),
    Relation("login_type", "type UTINYINT", "A type that makes a profile known.", "resolve", ""),
    Relation("unique_type", "type UTINYINT", "A type with one value a profile.", "resolve", ""),
    Relation("guard_type", "type UTINYINT", "A type that protects.", "resolve", "alike"),
    Relation("pivot_type", "type UTINYINT", "A type without a protection.", "resolve", "alike"),
    Relation("held_value", f"{IDENTITY_COLUMNS}, seq BIGINT",
             "The same, and the row that claims it; null: several do.", "resolve", ""),
    Relation("identity_match", IDENTITY_COLUMNS,
             "An identity that rows claim, and a profile that has it already.",
             "resolve, corrections", "sharing, dependence"),
    Relation("named_mpid", "seq BIGINT, mpid BIGINT, environment UTINYINT, hash UHUGEINT",
             "An MPID that a usable row names, and a hash for it that no identity has.",
             "mpids", "resolve, entangled"),
    Relation("keyed", "seq BIGINT, hash UHUGEINT, known BIGINT, founder BIGINT",
             "A row with the key: who has it in the store, and the first row that has it.",
             "resolve", ""),
    Relation("keyed_bits", BITS, "Which rows have the key.", "resolve", ""),
    Relation("open_row", "seq BIGINT", "A row that its key does not decide.", "resolve", ""),
    Relation("open_match", IDENTITY_COLUMNS,
             "An identity of an open row, and a profile that has it.", "resolve", ""),
    Relation("anonymous_match", IDENTITY_COLUMNS,
             "An open match whose profile has no login identity.", "resolve", ""),
    Relation("live_value", "hash UHUGEINT",
             "An identity that somebody without a login identity has.", "resolve", ""),
    Relation("open_link", "seq BIGINT, type UTINYINT, hash UHUGEINT",
             "A claim by which an open row could be linked.", "resolve", ""),
    Relation("link", "seq BIGINT, type UTINYINT, hash UHUGEINT",
             "A claim, or MPID, that can lead a row to a profile.",
             "resolve, corrections", "entangled, dependence"),
    Relation("link_match", IDENTITY_COLUMNS,
             "An identity or MPID that links, and a profile of the store that has it.",
             "resolve, corrections", "entangled, dependence"),
    Relation("tied_value", "hash UHUGEINT, node BIGINT",
             "A value that links a row to a second row or a profile; its number.", "resolve", ""),
    Relation("tie", "seq BIGINT, node BIGINT", "A link of a row by a tied value.", "resolve", ""),
    Relation("edge", "node BIGINT, neighbour BIGINT",
             "Two tied values that a row, or a profile, has both.", "resolve", ""),
    Relation("label", "node BIGINT, label BIGINT",
             "A tied value, and the smallest one that it is known to reach.", "resolve", ""),
    Relation("next_label", "node BIGINT, label BIGINT",
             "A tied value, and its label one step later.", "resolve", ""),
    Relation("row_label", "seq BIGINT, component BIGINT",
             "A linked row, and the component that it is in.", "resolve", "settle"),
    Relation("profile_label", "profile BIGINT, component BIGINT",
             "A profile of the store, and the component that it is in.", "resolve", ""),
    Relation("component", "component BIGINT, rows BIGINT, profiles BIGINT, has_mpid BOOLEAN,"
             " free BOOLEAN, contradiction BOOLEAN",
             "A component: rows that are linked, and what could make them harmful.", "resolve", ""),
    Relation("harmless", "component BIGINT, profile BIGINT",
             "A component in which every row finds the same profile.", "resolve", ""),
    Relation("component_value",
             "component BIGINT, hash UHUGEINT, type UTINYINT, rows BIGINT, profile BIGINT",
             "A value of a component, how many rows have it, and a profile that has it.",
             "resolve", ""),
    Relation("turn_row", "seq BIGINT, has_key BOOLEAN, profile BIGINT, founder BIGINT",
             "A row that belongs to a profile of the store, or to one that another row founds.",
             "resolve", "settle"),
    Relation("entangled_row", "seq BIGINT, component BIGINT",
             "A row that the interpreter decides.",
             "resolve, corrections", "entangled, dependence"),
    Relation("block_row", "seq BIGINT", "An entangled row that is in memory.", "entangled", ""),
    Relation("block_profile", "profile BIGINT", "A profile that the rows of a block may meet.",
             "entangled", ""),
    Relation("decided_row", "seq BIGINT, profile BIGINT, created BOOLEAN",
             "A row that the interpreter decided.", "entangled", "resolve"),
    Relation("decided_gain_half", "seq BIGINT, type UTINYINT, profile BIGINT, high UBIGINT,"
             " low UBIGINT", "A decided gain, its hash in halves.", "entangled", ""),
    Relation("decided_gain", "seq BIGINT, type UTINYINT, profile BIGINT, hash UHUGEINT",
             "An identity that a profile gained by a decided row.", "entangled", "resolve"),
    Relation("lost_identity_half", "profile BIGINT, type UTINYINT, arrival BIGINT, high UBIGINT,"
             " low UBIGINT", "A lost identity, its hash in halves.", "entangled, corrections", ""),
    Relation("lost_identity", "profile BIGINT, type UTINYINT, arrival BIGINT, hash UHUGEINT",
             "An identity that a profile lost, and the arrival of the row that took it.",
             "entangled, corrections", "resolve, commit, answers"),
    Relation("passing_identity", "profile BIGINT, type UTINYINT, seq BIGINT, until BIGINT",
             "An identity that a profile had for a while: from one row to another.",
             "entangled", "leaving"),
    Relation("decided_warning", "seq BIGINT, code VARCHAR",
             "What the interpreter says of a decided row.", "entangled", "resolve"),
    Relation("harmless_row", "seq BIGINT, profile BIGINT, founder BIGINT",
             "A row of a harmless component.", "settle", ""),
    Relation("row_profile", "seq BIGINT, profile BIGINT, created BOOLEAN",
             "A sharing row, its profile (null: nobody), and whether it founded it.", "settle", ""),
    Relation("founder", "seq BIGINT", "A row that founds a profile.", "settle", "mpids"),
    Relation("contested_profile", "profile BIGINT",
             "A profile that was known, or that several rows belong to.", "settle", "merge"),
    Relation("counted_row", "seq BIGINT, profile BIGINT",
             "A row whose gains are counted in sets.", "settle", ""),
    Relation("settled_gain", "seq BIGINT, type UTINYINT, hash UHUGEINT, profile BIGINT",
             "An identity that a profile gained by a sharing row.", "settle", "commit"),
    Relation("lone_gain", "seq BIGINT, type UTINYINT, hash UHUGEINT, profile BIGINT",
             "An identity of a profile that a lone row founded.", "settle", "commit"),
    Relation("gained_identity", "seq BIGINT, type UTINYINT, hash UHUGEINT, profile BIGINT",
             "An identity that a profile gained, and the row that brought it.",
             "settle", "answers"),
    Relation("net_gain", "hash UHUGEINT, profile BIGINT",
             "An identity that the profile of a sharing row has after the import and had not"
             " before.", "settle", "merge"),
    Relation("net_loss", "hash UHUGEINT, profile BIGINT",
             "An identity that a profile had before the import and has not after it.",
             "settle", "merge"),
    Relation("findable_value", "hash UHUGEINT, seq BIGINT",
             "An identity that a row can be found by, and the first such row.", "settle", ""),
    Relation("warning", "seq BIGINT, code VARCHAR", "What is worth knowing of a row.",
             "settle", "commit"),
    Relation("identity_bit", "type UTINYINT, bit BIGINT",
             "The bit of an identity column in `added`.", "resolve", "alike, settle"),
    Relation("founder_wish", "seq BIGINT, fixed BIGINT, named BOOLEAN",
             "A founder, its MPID if that is fixed, and whether the row names it.", "mpids", ""),
    Relation("founder_mpid", FOUNDER_MPID, "A founder, its MPID, and whether the row names it.",
             "mpids", "merge, answers"),
    Relation("next_founder_mpid", FOUNDER_MPID, "The same, once more than one was not free.",
             "mpids", ""),
    Relation("kept_mpid", FOUNDER_MPID, "The same, where the segment has to hold it.",
             "mpids", "merge, commit"),
    Relation("clashing_mpid", "seq BIGINT", "A founder whose MPID is not free.", "mpids", ""),
    Relation("settled", "seq BIGINT, profile BIGINT, created BOOLEAN, added BIGINT, code VARCHAR",
             "A sharing or alike row, as in `resolved`.", "settle", "sharing, merge"),
    Relation("resolved", "seq BIGINT, profile BIGINT, created BOOLEAN, added BIGINT, code VARCHAR",
             "A usable row: its profile (null: nobody), whether it founded it, which of its"
             " identities are new to it, the code of a dropped row.",
             "settle, corrections", "merge, consenting, commit, answers"),
    Relation("crowded_value", "hash UHUGEINT, type UTINYINT, seq BIGINT, rows BIGINT",
             "An identity that many rows or profiles have, as in `shared_value`.", "sharing", ""),
    Relation("crowded_claim", "seq BIGINT, hash UHUGEINT",
             "A claim of a crowded value that a profile has.", "sharing", ""),
    Relation("other_holder", "hash UHUGEINT, profile BIGINT",
             "A profile with a crowded value, and none of the rows that claim it.", "sharing", ""),

    # What they set.
    Relation("known_profile", "profile BIGINT", "A profile of the store that a row belongs to.",
             "merge, corrections", "dependence, answers"),
    Relation("verdict", "feed USMALLINT, verdict VARCHAR, refusal UTINYINT",
             "A feed, and what this import may do to an attribute that it owns.", "merge", ""),
    Relation("column_key", "key VARCHAR", "An attribute that has a column.", "merge", ""),
    Relation("calculated_key", "key VARCHAR, code VARCHAR",
             "A calculated attribute, and the code of its refusal.", "merge", ""),
    Relation("blocking_code", "code VARCHAR, number UTINYINT",
             "A code under which a cell can be refused, and its number.", "merge", ""),
    Relation("earlier_row", "profile BIGINT, arrival BIGINT, segment INTEGER, refusal UTINYINT,"
             " b<n> VARCHAR", "A row of the store of a known profile, and the verdict on its feed.",
             "merge", "dependence"),
    Relation("often_touched", "profile BIGINT", "A profile with several earlier rows.",
             "merge", ""),
    Relation("newest_state", "profile BIGINT, v<n> VARCHAR, w<n> UTINYINT",
             "Such a profile, as in `state_before`.", "merge", ""),
    Relation("state_before", "profile BIGINT, v<n> VARCHAR, w<n> UTINYINT",
             "A known profile: the value of each attribute, and the verdict on it.",
             "merge", "answers"),
    Relation("calculated_row", "seq BIGINT", "A row that speaks of a calculated attribute.",
             "merge", ""),
    Relation("segment_mpid", "seq BIGINT, mpid BIGINT",
             "A founder, and its MPID where the segment holds it.", "merge", ""),
    Relation("contested_seq", "seq BIGINT, profile BIGINT, added BIGINT, mpid BIGINT",
             "A row whose cells are not just set.", "merge", ""),
    Relation("fresh_seq", "seq BIGINT, profile BIGINT, added BIGINT, mpid BIGINT",
             "A row of a profile that was not known and has several rows, or that the interpreter"
             " decided.", "merge", "tally"),
    Relation("fresh_change", "profile BIGINT, s<n> BOOLEAN",
             "A profile of fresh rows, and which attributes it has in the end.", "tally", ""),
    Relation("other_row", "seq BIGINT", "A row that founds no profile by itself.", "merge", ""),
    Relation("other_bits", BITS, "Which rows are such ones.", "merge", ""),
    Relation("founding_row", STAGED_ROW, "A row that founds a profile, and is its only row.",
             "merge", ""),
    Relation("contested_row", "seq BIGINT, profile BIGINT, added BIGINT, mpid BIGINT,"
             f" {FRAME_FIELDS}, i_<type> VARCHAR, c<n> VARCHAR, o<n> UTINYINT",
             "A contested row: the identities that its profile gained by it, what it sets and"
             " deletes, and the effect of each.",
             "merge", "tally, dependence, answers"),
    Relation("repeated_profile", "profile BIGINT",
             "A contested profile that several rows of the import belong to.", "merge", "tally"),
    Relation("outcome", "profile BIGINT, o<n> UTINYINT",
             "A repeated profile: what became of each attribute, and the refusal (times 16).",
             "merge", "tally"),
    Relation("cell_effect", "profile BIGINT, o<n> UTINYINT",
             "A contested profile: what became of each attribute, as in `outcome`.", "tally", ""),
    Relation("loose_change", "seq BIGINT, key VARCHAR, value VARCHAR",
             "What a row does to an attribute without a column.", "merge", ""),
    Relation("loose_statement", "seq BIGINT, profile BIGINT, key VARCHAR, value VARCHAR",
             "A loose change of a row that has a profile.", "merge", ""),
    Relation("loose_before", "profile BIGINT, key VARCHAR, v VARCHAR, w VARCHAR",
             "The value of such an attribute in the store, and the verdict on it.", "merge", ""),
    Relation("loose_cell", "seq BIGINT, profile BIGINT, key VARCHAR, value VARCHAR, v VARCHAR,"
             " w VARCHAR", "A loose statement, the value before, and the verdict.",
             "merge", "dependence, commit, answers"),
    Relation("loose_outcome", "profile BIGINT, key VARCHAR, v VARCHAR, f VARCHAR, k VARCHAR",
             "An attribute of a profile: value before, last applied cell, refusal.", "merge", ""),
    Relation("profile_change", "profile BIGINT",
             "A change of an attribute or identity of a profile.", "tally", ""),
    Relation("changed_profile", "profile BIGINT", "A profile that is another after the import.",
             "tally", "answers"),
    Relation("new_segment_row", SEGMENT_ROW, "The only row of a new profile, as it is written.",
             "merge", "commit"),
    Relation("fresh_segment_row", SEGMENT_ROW, "A fresh row, as it is written.",
             "merge", "tally, commit"),
    Relation("contested_segment_row", SEGMENT_ROW, "A contested row, as it is written.",
             "merge", "commit"),
    Relation("blocked_cell", "profile BIGINT, seq BIGINT, feed USMALLINT, code VARCHAR,"
             " a<n> VARCHAR", "A contested row, and the cells that were refused under a code.",
             "merge", "commit"),
    Relation("consent_refused", "seq BIGINT", "A row whose feed may not speak of consent.",
             "consenting", "commit"),
    Relation("consent_row", "seq BIGINT, rest VARCHAR", "A row that may speak of consent.",
             "consenting", ""),
    Relation("consent_statement", "seq BIGINT, purpose VARCHAR, at_ms VARCHAR",
             "What a row says of the consent to a purpose.", "consenting", ""),
    Relation("consent_ahead", "seq BIGINT, purpose VARCHAR, at_ms BIGINT",
             "A consent statement of a time after the import.", "consenting", "commit"),
    Relation("examined_profile", "profile BIGINT", "A profile that a row found or could find.",
             "dependence", ""),
    Relation("rival_profile", "profile BIGINT", "A profile that an entangled row could find.",
             "dependence", ""),

    # What is written. A prepared relation is named after the table it becomes.
    Relation("ready_row", SEGMENT_ROW, "A row of the segment.", "commit, corrections", "leaving"),
    Relation("ready_index", "hash UHUGEINT, profile BIGINT, type UTINYINT",
             "An identity that a profile gained.", "commit, corrections", ""),
    Relation("ready_mpid", MPID_ROW, "A profile that was founded.", "commit", ""),
    Relation("ready_blocked", "profile BIGINT, arrival BIGINT, feed USMALLINT, code VARCHAR,"
             " a<n> VARCHAR", "A row, and its refused cells.", "commit, corrections", ""),
    Relation("ready_loose", "profile BIGINT, arrival BIGINT, feed USMALLINT, key VARCHAR,"
             " value VARCHAR", "An applied cell without a column.", "commit, corrections", ""),
    Relation("ready_blocked_loose", "profile BIGINT, arrival BIGINT, feed USMALLINT, code VARCHAR,"
             " key VARCHAR, value VARCHAR", "A refused such cell.", "commit, corrections", ""),
    Relation("ready_rest", "profile BIGINT, arrival BIGINT, rest VARCHAR",
             "The other fields of a batch.", "commit", ""),
    Relation("ready_event", "profile BIGINT, arrival BIGINT, place INTEGER/BIGINT,"
             " environment UTINYINT, feed USMALLINT, type VARCHAR, name VARCHAR, at_ms BIGINT,"
             " session VARCHAR, event VARCHAR", "An event of a profile.", "commit", ""),
    Relation("ready_removed", "profile BIGINT, type UTINYINT, hash UHUGEINT, arrival BIGINT,"
             " import INTEGER", "An identity that a profile lost.", "commit", ""),
    Relation("ready_dropped", "arrival BIGINT, code VARCHAR", "A row that was kept out.",
             "commit", "leaving"),
    Relation("ready_request", "feed INTEGER, request VARCHAR, at_ms BIGINT, import INTEGER,"
             " arrival BIGINT", "A request of a usable row.", "commit, corrections", ""),
    Relation("ready_line_run", "first_arrival BIGINT, first_line BIGINT",
             "Where rows begin that follow each other line by line.", "commit, corrections", ""),
    Relation("ready_reject", "import INTEGER, file VARCHAR, line BIGINT, code VARCHAR,"
             " message VARCHAR, raw VARCHAR", "A row that could not be used.",
             "commit", "suppression"),
    Relation("remark", REMARK_COLUMNS, "What was left out of a row, or is worth knowing of it.",
             "commit", "answers"),
    Relation("ready_remark", "arrival BIGINT, code VARCHAR, type UTINYINT, value VARCHAR,"
             " attribute VARCHAR", "A remark, as it is remembered.", "commit", ""),
    Relation("ready_passed_claim", "arrival BIGINT, type UTINYINT, hash UHUGEINT",
             "An identity of a row that protection kept from a profile.", "commit", ""),
    Relation("ready_alias", "import INTEGER, arrival BIGINT, source BIGINT, destination BIGINT,"
             " start_ms BIGINT, end_ms BIGINT, due_ms BIGINT, first_seen_ms BIGINT,"
             " attribution VARCHAR", "An alias that was made by hand.", "corrections", "commit"),
    Relation("reject_word", "place BIGINT, type UTINYINT, word VARCHAR",
             "A word of a reject that may be an identity.", "suppression", ""),
    Relation("distinct_word", "type UTINYINT, word VARCHAR", "Such a word, once.",
             "suppression", ""),
    Relation("named_reject", "place BIGINT", "A reject that names somebody erased.",
             "suppression", ""),
    Relation("cleared_reject", "import INTEGER, file VARCHAR, line BIGINT, code VARCHAR,"
             " message VARCHAR, raw VARCHAR", "A reject, without the text if it names somebody"
             " erased.", "suppression", ""),

    # What leaves.
    Relation("connected_output", "output VARCHAR, accepts_eventless BOOLEAN",
             "An output that the batches go to.", "leaving", ""),
    Relation("event_count", "seq BIGINT, events INTEGER", "How many events a row has.",
             "leaving", ""),
    Relation("processed_row", "seq BIGINT", "A dropped row that was processed all the same.",
             "leaving", ""),
    Relation("event_types", "seq BIGINT, events INTEGER, types VARCHAR",
             "How many events of each type a processed row has, as JSON.", "leaving", ""),
    Relation("ready_passed", "arrival BIGINT, events INTEGER, environment UTINYINT, at_ms BIGINT,"
             " types VARCHAR", "A batch that was processed and is nobody's.", "leaving", ""),
    Relation("named_device", "seq BIGINT, i_<type> VARCHAR", "The usable devices of a row.",
             "leaving", ""),
    Relation("device_list", "seq BIGINT, devices VARCHAR", "The usable devices of a row, as JSON.",
             "leaving", ""),
    Relation("passing_value", "profile BIGINT, seq BIGINT, until BIGINT, text VARCHAR",
             "A passing identity as the row states it.", "leaving", ""),
    Relation("passing_list", "arrival BIGINT, held VARCHAR",
             "The passing identities that the profile of a row had after it, as JSON.",
             "leaving", ""),
    Relation("passed_batch", STAGED_ROW, "A row that a feed only reads, with usable identities.",
             "leaving", ""),
    Relation("loose_members", "seq BIGINT, sets VARCHAR, deletes VARCHAR",
             "What such a row does to attributes without a column, as JSON.", "leaving", ""),
    Relation("event_list", "seq BIGINT, listed VARCHAR", "The events of such a row, as JSON.",
             "leaving", ""),
    Relation("ready_outgoing", "arrival BIGINT, profile BIGINT, at_ms BIGINT, events INTEGER,"
             " devices VARCHAR, content VARCHAR, held VARCHAR", "A batch that may leave.",
             "leaving", ""),

    # What a person is shown, and a caller is answered.
    Relation("refused_cell", "seq BIGINT, code VARCHAR, attribute VARCHAR",
             "An attribute of a contested row, and the code of its refusal or null.",
             "answers", ""),
    Relation("row_code", REMARK_COLUMNS, "A code of a row that was not rejected.",
             "answers", "answers"),
    Relation("located_code", f"{REMARK_COLUMNS}, file VARCHAR, line BIGINT",
             "Such a code, with where the row is.", "answers", ""),
    Relation("located_row", "", "A row of any SELECT with seq, with where it is.", "answers", ""),
    Relation("profile_mpid", "profile BIGINT, mpid BIGINT",
             "A profile, and the MPID that it has or would get.", "answers", ""),
    Relation("lost_example", "seq BIGINT, type UTINYINT, from_mpid VARCHAR, to_mpid VARCHAR,"
             " moved BOOLEAN", "An identity that a profile would lose.", "answers", ""),
    Relation("kind_example", CELL_EXAMPLE, "What a row does to an attribute of a known profile.",
             "answers", ""),
    Relation("answered_profile", "profile BIGINT", "A profile that an answer is about.",
             "answers", ""),
    Relation("claim_half", "seq BIGINT, type UTINYINT, high UBIGINT, low UBIGINT, profile BIGINT",
             "An identity that a modification is about and a holder of it, its hash in halves.",
             "corrections", ""),
    Relation("index_half", "high UBIGINT, low UBIGINT, profile BIGINT, type UTINYINT",
             "An identity that a modification gives to a profile, its hash in halves.",
             "corrections", ""),
]
# fmt: on
BY_NAME = {relation.name: relation for relation in RELATIONS}


def fixed_columns(name: str) -> list[tuple[str, str]]:
    """Return the columns of a relation that do not depend on the files."""
    # A `?` ends an optional column, a `>` the name of a family.
    columns = [column.strip().rsplit(" ", 1) for column in BY_NAME[name].columns.split(",")]
    return [(column, type_) for column, type_ in columns if not column.endswith(("?", ">"))]


def make_empty(relations: Relations, name: str) -> None:
    """Make a relation without rows, with the columns that do not depend on the files."""
    relations.load(name, fixed_columns(name), [])


def make_bits(relations: Relations, name: str, *, rows: str, span: int) -> None:
    """Make a relation of which rows another one has, a bit for each row of the import.

    rows: the relation that has them; span: how many rows the import has.
    """
    blocks = (span >> BITS_OF_PLACE) + 1
    relations.make(name, ROW_BITS.format(rows=rows), {"blocks": blocks})


def only_row(relations: Relations, select: str, bound: Bound | None = None) -> tuple[Any, ...]:
    """Return the one row of a SELECT."""
    return relations.rows(select, bound)[0]


def union_of(selects: Sequence[str]) -> str:
    """Return the SELECT of the rows of several SELECTs."""
    return " union all ".join(selects)


def fill(template: str, **values: object) -> str:
    """Return SQL of a column, a file or an attribute with its values filled in.

    It is for what cannot be bound: names of columns, and SQL of other packages.
    """
    return template.format(**values)
