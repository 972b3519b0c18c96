"""`python -m profilectl` is the command profilectl."""

import os

os.umask(0o077)  # whatever is made from here on, also by DuckDB and by processes that this one begins, is for its owner only

from profilectl.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
