"""The one kind of error that is the user's to mend, and how a command reports it."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """Input that cannot be used. The message is one line that names the file, key or option and what would be right."""


def run_command(command: Callable[[list[str] | None], int | None], argv: list[str] | None = None) -> int:
    """Run `command(argv)` and give its exit code: 2 after a `UserError` (one line on stderr), 130 after Ctrl-C."""
    try:
        return command(argv) or 0
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
