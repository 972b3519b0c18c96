"""profilectl schema: the JSON Schemas of the documents that commands print."""

from __future__ import annotations

from typing import Annotated

import typer

from profilectl.cli.app import app
from profilectl.cli.options import JsonOption


@app.command("schema", epilog="Example: profilectl schema imports list")
def schema_command(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="A command, such as imports list, or a name of the list (default: list all).",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the JSON Schema of what a command prints.

    Without NAME, list all schemas. A schema is exact: what it does not name is not printed.
    """
    from profilectl.render import screen, tables
    from profilectl.schemas.catalog import entries, schema_named

    if words:
        screen.print_text(schema_named(" ".join(words)))
    elif as_json:
        screen.print_json([entry.as_json() for entry in entries()])
    else:
        rows = [
            (entry.name, "lines" if entry.lines else "document", entry.title.partition(". ")[0])
            for entry in entries()
        ]
        tables.print_table("Schemas", ("schema", "is of", "what"), rows)
