"""The command `pd`, also as `python -m pseudo_density`."""

import os
import signal
import sys

from pseudo_density import _native


def main() -> int:
    """Runs the command line and returns its exit code."""
    # The command has handlers of its own, after which Python's would raise an exception that nobody waits for.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    script = os.path.abspath(sys.argv[0])
    is_program = os.path.basename(script) == "pd" and os.access(script, os.X_OK)
    program = [script] if is_program else [sys.executable, os.path.abspath(__file__)]
    return _native.run_command(["pd", *sys.argv[1:]], program)


if __name__ == "__main__":
    sys.exit(main())
