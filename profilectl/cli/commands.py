"""All commands, in the order of the help. Importing a command registers it."""

from profilectl.cli import import_, show, export, feeds, config  # noqa: F401, I001
