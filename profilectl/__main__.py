"""`python -m profilectl` is the command profilectl."""

import os

# whatever is made from here on, also by DuckDB and by processes that this one begins, is for its
# owner only
os.umask(0o077)

from profilectl.cli.app import main  # noqa: E402

if __name__ == "__main__":
    main()
