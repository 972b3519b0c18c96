"""A push to a receiver of the tests."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

from support.doors import call
from support.receiver import KEY, SECRET

from profilectl.codes import ProfilectlError

SECRETS = {"PROFILECTL_PUSH_KEY": KEY, "PROFILECTL_PUSH_SECRET": SECRET}


def tried(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Call the command in this process; return the exit status and what it says on stdout and
    stderr.
    """
    with mock.patch.dict(os.environ, SECRETS):
        found = call(*arguments, folder=folder)
    error = found.exception
    if isinstance(error, ProfilectlError):
        return error.exit, found.stdout, f"{found.stderr}{error.message}\n{error.hint}"
    assert error is None or isinstance(error, SystemExit), error
    return found.exit_code, found.stdout, found.stderr
