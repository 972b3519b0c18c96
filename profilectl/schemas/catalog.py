"""The schemas: what each describes, and by which commands and files it is printed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from profilectl.rules.text.naming import no_such

FOLDER = Path(__file__).parent / "published"
"""Where the schemas are, as `docs/schemas.py` writes them."""


LINES = "lines"
"""Each line is a document of its own."""
LISTED = "list"
"""The document is a list of what is declared."""


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema."""

    shape: str
    """The declaration of the document: module.name below profilectl.schemas."""
    commands: tuple[str, ...]
    """The commands and files that it describes, as words after `profilectl`."""
    form: str = "document"
    """LINES, LISTED, or one document."""


# fmt: off
SCHEMAS: Mapping[str, Schema] = {
    "import":              Schema("imports.ReportJson", (
        "import", "apply", "set", "modify", "alias",
    )),
    "columns":             Schema("imports.ColumnsJson", ("columns",)),
    "plan":                Schema("imports.PlanJson", ("plan make", "plan show")),
    "imports-list":        Schema("imports.PastImportJson", ("imports list",), LISTED),
    "imports-show":        Schema("imports.ShownImportJson", ("imports show",)),
    "imports-undo":        Schema("imports.UndoneJson", ("imports undo",)),
    "rejects":             Schema("imports.RejectJson", ("import --rejects FILE",), LINES),
    "explain-rows":        Schema("imports.RowCodeJson", ("import --explain-rows FILE",), LINES),
    "diff":                Schema("imports.ChangeJson", ("diff",), LINES),
    "show":                Schema("people.ShowJson", ("show",)),
    "search":              Schema("people.SearchJson", ("search",)),
    "lookup":              Schema("people.LookedUpJson", ("lookup",), LINES),
    "events":              Schema("people.StoredEventJson", ("events",), LINES),
    "stream":              Schema("people.StreamedBatchJson", ("stream",), LINES),
    "access":              Schema("people.AccessJson", ("access",)),
    "access-written":      Schema("people.WrittenFilesJson", ("access --json -o FILE",)),
    "explain":             Schema("explanations.ExplainJson", ("explain attribute",)),
    "explain-identity":    Schema("explanations.ExplainIdentityJson", ("explain identity",)),
    "explain-row":         Schema("explanations.ExplainRowJson", ("explain row",)),
    "explain-rules":       Schema("explanations.RulesJson", ("explain rules",)),
    "identify":            Schema("explanations.IdentifyJson", ("identify",)),
    "export-profiles":     Schema("people.ExportedProfileJson", ("export profiles",), LINES),
    "export-identities":   Schema("people.ExportedIdentityJson", ("export identities",), LINES),
    "export-attributes":   Schema("people.ExportedValueJson", ("export attributes",), LINES),
    "export-batches":      Schema("people.PlatformBatchJson", ("export batches",), LINES),
    "export-imports":      Schema("imports.PastImportJson", ("export imports",), LINES),
    "export-written":      Schema("members.WrittenJson", (
        "export profiles --json -o FILE", "export identities --json -o FILE",
        "export attributes --json -o FILE", "export batches --json -o FILE",
        "export imports --json -o FILE", "audiences export --json -o FILE",
    )),
    "feeds-list":          Schema("stores.FeedJson", ("feeds list",), LISTED),
    "feeds-show":          Schema("stores.FeedJson", ("feeds show", "feeds add", "feeds set")),
    "config-apply":        Schema("stores.ConfigurationChangesJson", (
        "config apply", "config set", "config unset",
    )),
    "config-export":       Schema("stores.ConfigurationJson", ("config export",)),
    "calculated-list":     Schema("stores.ListedCalculationJson",
                                  ("calculated list", "calculated recalculate"), LISTED),
    "calculated-show":     Schema("stores.ShownCalculationJson", (
        "calculated show", "calculated add", "calculated activate", "calculated deactivate",
    )),
    "calculated-preview":  Schema("stores.PreviewedCalculationJson", ("calculated preview",)),
    "removed":             Schema("stores.RemovedJson", ("calculated remove", "audiences remove")),
    "audiences-list":      Schema("stores.AudienceJson", ("audiences list",), LISTED),
    "audiences-show":      Schema("stores.AudienceJson", ("audiences show", "audiences add")),
    "audiences-refresh":   Schema("stores.RefreshedAudienceJson", ("audiences refresh",), LISTED),
    "audiences-preview":   Schema("stores.PreviewJson", ("audiences preview",)),
    "audiences-members":   Schema("stores.MemberJson", ("audiences members", "audiences export"),
                                  LINES),
    "audiences-diff":      Schema("stores.MoveJson", ("audiences diff",), LINES),
    "stats":               Schema("stores.StatisticsJson", ("stats",)),
    "check":               Schema("stores.CheckJson", ("check",)),
    "compact":             Schema("stores.CompactedJson", ("compact",)),
    "backup":              Schema("stores.BackupJson", ("backup",)),
    "restore":             Schema("stores.RestoredJson", ("restore",)),
    "credentials-new":     Schema("stores.CredentialsJson", ("credentials new",)),
    "serve":               Schema("stores.ServingJson", ("serve",)),
    "serve-openapi":       Schema("stores.OpenApiJson", ("serve --openapi",)),
    "schema":              Schema("stores.SchemaEntryJson", ("schema",), LISTED),
    "push":                Schema("outgoing.PushJson", ("push",)),
    "push-refused":        Schema("outgoing.RefusedBatchJson", ("push --refused FILE",), LINES),
    "forward":             Schema("outgoing.ForwardedJson", ("forward",), LISTED),
    "outbox-list":         Schema("outgoing.OutboxJson", ("outbox list",)),
    "outbox-retry":        Schema("outgoing.RetriedJson", ("outbox retry",)),
    "outbox-drop":         Schema("outgoing.DroppedJson", ("outbox drop",)),
    "enrich":              Schema("outgoing.EnrichedJson", ("enrich",), LINES),
    "usage":               Schema("outgoing.UsageJson", ("usage",)),
    "uid2-run":            Schema("outgoing.Uid2Json", ("uid2 run",)),
    "forget":              Schema("outgoing.ForgetJson", ("forget",)),
    "privacy-requests":    Schema("outgoing.RequestJson", ("privacy requests", "privacy run"),
                                  LISTED),
    "privacy-show":        Schema("outgoing.RequestJson",
                                  ("privacy show", "privacy request", "privacy cancel")),
    "privacy-lift-all":    Schema("outgoing.LiftedJson", ("privacy lift-all",)),
    "retention-show":      Schema("outgoing.RetentionJson", ("retention show", "retention set")),
    "retention-apply":     Schema("outgoing.RetentionAppliedJson", ("retention apply",)),
}
# fmt: on


@dataclass(frozen=True, slots=True)
class SchemaEntry:
    """A schema in the list of all."""

    name: str
    """Its name."""
    title: str
    """What it describes."""
    commands: tuple[str, ...]
    """The commands and files that it describes."""
    lines: bool
    """Whether each line is a document of its own."""

    def as_json(self) -> dict[str, object]:
        """Return the entry of `schema --json`."""
        return {
            "name": self.name,
            "title": self.title,
            "commands": list(self.commands),
            "lines": self.lines,
        }


def entries() -> list[SchemaEntry]:
    """Return all schemas."""
    return [
        SchemaEntry(
            name,
            json.loads(_text(name))["title"],
            commands=schema.commands,
            lines=schema.form == LINES,
        )
        for name, schema in SCHEMAS.items()
    ]


def schema_named(words: str) -> str:
    """Return the text of a schema: of its name, or of a command that it describes.

    Raises UsageError where there is none.
    """
    for name, schema in SCHEMAS.items():
        if words.replace(" ", "-") == name or words in schema.commands:
            return _text(name)
    commands = [words for schema in SCHEMAS.values() for words in schema.commands]
    raise no_such("schema", words, [*SCHEMAS, *commands], lists="profilectl schema")


def _text(name: str) -> str:
    return (FOLDER / f"{name}.json").read_text("utf-8")
