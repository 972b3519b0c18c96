"""The answer to an access request, as an HTML page: one file that loads nothing and runs nothing.

Values come from strangers, so they are written as text, with control characters made visible.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from profilectl.render.screen import Document
from profilectl.render.words import moment
from profilectl.rules.text.terminal import visible
from profilectl.rules.text.values import Value, to_json

HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="referrer" content="no-referrer">
<title>What is held about you</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
  color: #1b1b1b; }
h2 { margin-top: 2.5rem; border-bottom: 2px solid #ddd; } h3 { margin: 1.5rem 0 .3rem; }
table { border-collapse: collapse; width: 100%; }
td, th { border: 1px solid #ddd; padding: .25rem .5rem; text-align: left; vertical-align: top;
  overflow-wrap: anywhere; }
th { background: #f5f5f5; white-space: nowrap; } .none { color: #777; } details { margin: .5rem 0; }
</style></head><body>
"""
# The parts of the document and their headings, in the order of the page.
PARTS = (
    ("identities", "Identities"),
    ("user_attributes", "Attributes"),
    ("provenance", "Where each attribute comes from"),
    ("consent", "Consent"),
    ("devices", "Devices"),
    ("is_opted_out", "Opted out"),
    ("limit_ad_tracking", "Ad tracking limited"),
    ("audience_memberships", "Audiences"),
    ("audience_changes", "Audiences entered and left"),
    ("attribution", "Install attribution"),
    ("blocked", "Values that were refused"),
    ("remarks", "What was skipped, or is worth knowing"),
    ("held", "Other records"),
    ("history", "Every value that each attribute has had"),
    ("timeline", "Batches and events, newest first"),
)
# The columns of the document's own tables that are times.
TIMES = ("since_ms", "at_ms", "set_ms", "first_seen_ms", "last_seen_ms")


def page(document: Document) -> str:
    """Return the HTML of an access document (privacy/access.py)."""
    parts = [
        HEAD,
        "<h1>What is held about you</h1>",
        (
            f"<p>Asked for by {_text(document['query']['type'])}"
            f" {_text(document['query']['value'])}, {_moment(document['made_ms'])}.</p>"
        ),
    ]
    for profile in document["profiles"]:
        person = _listed(profile)
        parts.append(f"<h2>Profile {_text(person['mpid'])}, {_text(person['environment'])}</h2>")
        parts.append(
            f"<p>First seen {_moment(person['first_seen_ms'])}, last seen"
            f" {_moment(person['last_seen_ms'])}.</p>"
        )
        parts += [
            f"<h3>{title}</h3>{_part(person[name])}" for name, title in PARTS if name in person
        ]
        for workspace, part in profile.get("workspaces", {}).items():
            parts.append(f"<h2>In the workspace {_text(workspace)}</h2>")
            parts += [
                f"<h3>{title}</h3>{_part(_listed(part)[name])}"
                for name, title in PARTS
                if name in part
            ]
    if document["rejected_rows"]:
        parts.append(f"<h2>Rows that could not be used</h2>{_value(document['rejected_rows'])}")
    return "\n".join([*parts, "</body></html>\n"])


def _listed(document: Document) -> Document:
    """Return a document with its timeline newest first, and its provenance as a list."""
    if "timeline" in document:
        document = {**document, "timeline": document["timeline"][::-1]}
    if "provenance" not in document:
        return document
    return {
        **document,
        "provenance": [
            {"attribute": key, **origin} for key, origin in document["provenance"].items()
        ],
    }


def _text(value: object) -> str:
    return escape(visible(str(value)))


def _moment(ms: object) -> str:
    return _text(moment(int(str(ms)))) + " UTC"


def _part(value: Value) -> str:
    """Return a part of the document as HTML.

    Milliseconds become times in the document's own tables, but never within a person's values.
    """
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        rows = [
            {
                name: moment(int(str(cell))) + " UTC" if name in TIMES else cell
                for name, cell in row.items()
            }
            for row in value
            if isinstance(row, dict)
        ]
        return _table(rows)
    return _value(value)


def _value(value: Value) -> str:
    if isinstance(value, dict):
        rows = "".join(
            f"<tr><th>{_text(name)}</th><td>{_value(member)}</td></tr>"
            for name, member in value.items()
        )
        return f"<table>{rows}</table>" if rows else '<p class="none">none</p>'
    if isinstance(value, list):
        members = [member for member in value if isinstance(member, dict)]
        if members and len(members) == len(value):
            return _table(members)
        lines = "".join(f"<div>{_value(item)}</div>" for item in value)
        return lines or '<p class="none">none</p>'
    return _text(value) if isinstance(value, str) else _text(to_json(value))


def _table(rows: Sequence[Mapping[str, Value]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    return "".join(_rows(names, rows))


def _rows(names: list[str], rows: Sequence[Mapping[str, Value]]) -> Iterator[str]:
    yield "<table><tr>" + "".join(f"<th>{_text(name)}</th>" for name in names) + "</tr>"
    for row in rows:
        yield (
            "<tr>"
            + "".join(f"<td>{_value(row[name]) if name in row else ''}</td>" for name in names)
            + "</tr>"
        )
    yield "</table>"
