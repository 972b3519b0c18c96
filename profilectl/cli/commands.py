"""All commands, in the order of the help. Importing a command registers it."""

from profilectl.cli import import_, plan, imports, diff, show, browse, search, explain, correct, export, feeds, config, upkeep  # noqa: F401, I001
