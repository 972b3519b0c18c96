"""What is held about one person, as a page: one file, nothing loaded, nothing in it that runs.

Every value is a stranger's: it is written as text, with control characters made visible.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

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
# The parts of a document in the order in which a person reads them.
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

TIMES = ("since_ms", "at_ms", "set_ms", "first_seen_ms", "last_seen_ms")


def page(document: dict[str, Any]) -> str:
    """Return the HTML of an access document (access.access_document)."""
    parts = [
        HEAD,
        "<h1>What is held about you</h1>",
        (
            f"<p>Asked for by {_text(document['query']['type'])}"
            f" {_text(document['query']['value'])}, {_moment(document['made_ms'])}.</p>"
        ),
    ]
    for profile in document["profiles"]:
        one = _listed(profile)
        parts.append(f"<h2>Profile {_text(one['mpid'])}, {_text(one['environment'])}</h2>")
        parts.append(
            f"<p>First seen {_moment(one['first_seen_ms'])}, last seen"
            f" {_moment(one['last_seen_ms'])}.</p>"
        )
        parts += [f"<h3>{title}</h3>{_part(one[name])}" for name, title in PARTS if name in one]
        for workspace, its in profile.get("workspaces", {}).items():
            parts.append(f"<h2>In the workspace {_text(workspace)}</h2>")
            parts += [
                f"<h3>{title}</h3>{_part(_listed(its)[name])}"
                for name, title in PARTS
                if name in its
            ]
    if document["rejected_rows"]:
        parts.append(f"<h2>Rows that could not be used</h2>{_value(document['rejected_rows'])}")
    return "\n".join([*parts, "</body></html>\n"])


def _listed(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document for a page: its timeline newest first, its provenance as a list, to be a
    table.
    """
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
    """Return a part of the document: in its own tables times are told as times, in a stranger's
    values never.
    """
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        rows = [
            {
                name: moment(int(str(one))) + " UTC" if name in TIMES else one
                for name, one in row.items()
            }
            for row in value
            if isinstance(row, dict)
        ]
        return _table(rows)
    return _value(value)


def _value(value: Value) -> str:
    if isinstance(value, dict):
        rows = "".join(
            f"<tr><th>{_text(name)}</th><td>{_value(one)}</td></tr>" for name, one in value.items()
        )
        return f"<table>{rows}</table>" if rows else '<p class="none">none</p>'
    if isinstance(value, list):
        if value and all(isinstance(one, dict) for one in value):
            return _table(value)
        return "".join(f"<div>{_value(one)}</div>" for one in value) or '<p class="none">none</p>'
    return _text(value) if isinstance(value, str) else _text(to_json(value))


def _table(rows: list[Any]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    return "".join(_rows(names, rows))


def _rows(names: list[str], rows: list[Any]) -> Iterator[str]:
    yield "<table><tr>" + "".join(f"<th>{_text(name)}</th>" for name in names) + "</tr>"
    for row in rows:
        yield (
            "<tr>"
            + "".join(f"<td>{_value(row[name]) if name in row else ''}</td>" for name in names)
            + "</tr>"
        )
    yield "</table>"
