"""What holds for every test."""

from __future__ import annotations

import signal

# A shell that starts the suite in the background has it ignore interrupts, and a process hands that on to those it starts:
# the tests that interrupt a command would wait for ever.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
