"""The one kind of error that is the user's to mend, how a command reports it, and phrases for its message."""

import difflib
import errno
import sys
from collections.abc import Callable, Iterable


class UserError(Exception):
    """Input that cannot be used. The message is one line that names the file, key or option and what would be right."""


def near(name: str, names: Iterable[str]) -> str:
    """`; did you mean 'a' or 'b'?` for the names that resemble `name`, or nothing when none does."""
    names = list(names)
    found = difflib.get_close_matches(name, names, 3, 0.6)
    if not found:
        by_lower = {other.lower(): other for other in names}
        found = [by_lower[other] for other in difflib.get_close_matches(name.lower(), by_lower, 3, 0.6)]
    return f"; did you mean {' or '.join(repr(other) for other in found)}?" if found else ""


def some(keys: Iterable, count: int = 3) -> str:
    """The first few of `keys`, and how many more there are, for a message."""
    keys = [str(key) for key in keys]
    return ", ".join(keys[:count]) + (f" and {len(keys) - count} more" if len(keys) > count else "")


def run_command(command: Callable[[list[str] | None], int | None], argv: list[str] | None = None) -> int:
    """Run `command(argv)` and give its exit code: 2 after an error that is the user's to mend, 130 after Ctrl-C.

    Such an error, a `UserError` or a file that cannot be read or written, is one line on stderr.
    """
    try:
        return command(argv) or 0
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except (UserError, OSError) as error:
        text = _message(error)
        if text is None:
            raise
        print(f"error: {' '.join(text.split())}", file=sys.stderr)
        return 2


def _message(error: UserError | OSError) -> str | None:
    """What to tell of `error`; None for an `OSError` that is not about a file."""
    text = str(error)
    if "\nOriginal Traceback" in text:  # torch's form of an error in a process that loads data
        return text.strip().rsplit("\n", 1)[-1].partition(": ")[2]
    if isinstance(error, UserError):
        return text
    if error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return f"cannot write the results: {error.strerror}" if full else None
