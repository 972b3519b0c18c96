"""`python -m profilectl` is the command profilectl."""

import os

# Each file from here on is for its owner only, also what DuckDB and the processes that this one
# begins make.
os.umask(0o077)

from profilectl.cli.main import program  # noqa: E402

if __name__ == "__main__":
    program()
