"""The `fastattn` command: its sub-commands, its exit codes, and what a signal or a closed pipe does."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

from . import attention, dates, evaluate, export, info, serve, train, translate
from .common import Parser, Terminated, UserError, version

EXIT_CODES = """exit codes:
  0 done; 1 an error that you can mend, said in one line on standard error; 2 wrong usage;
  130 interrupted (Ctrl-C); 141 whoever read the output has gone; 143 terminated
"""


def parser() -> Parser:
    """The command line with all sub-commands."""
    result = Parser(
        prog="fastattn",
        description="Train LSTM encoder-decoder models with attention on CPUs, and use them.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("-V", "--version", action="version", version=f"fastattn {version()}")
    commands: argparse._SubParsersAction[Any] = result.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (train, translate, evaluate, attention, serve, export, dates, info):
        command.add_parser(commands)
    return result


def run(arguments: Sequence[str] | None = None) -> int:
    """The command with ``arguments``, or the process's own -> the exit code. SystemExit(2) for wrong usage."""
    chosen = parser().parse_args(arguments)
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        # Answers are UTF-8, as the pairs are, whatever the locale says. The name of a file may be any bytes: as it was given.
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")  # type: ignore[union-attr]
        chosen.run(chosen)
        sys.stdout.flush()
        return 0
    except KeyboardInterrupt as error:
        return _say(error if error.args else "interrupted", 130)
    except Terminated as error:
        return _say(error if error.args else "terminated", 143)
    except BrokenPipeError:
        # Nobody reads any more. What Python still has in its buffer must go somewhere when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13  # what a shell says of a program that SIGPIPE ended
    except MemoryError:
        return _say("out of memory; a smaller --batch-size or --hidden, or shorter lines, need less", 1)
    except Exception as error:
        if not isinstance(error, _mendable()):
            raise
        if isinstance(error, OSError) and error.filename is not None:
            return _say(f"{error.filename}: {error.strerror}", 1)
        return _say(error, 1)
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


def _say(problem: object, code: int) -> int:
    print(f"fastattn: {problem}", file=sys.stderr)
    return code


def _mendable() -> tuple[type[Exception], ...]:
    """The errors that are the user's to mend; any other is a fault of ours, and shows its traceback."""
    from fastattn.data import CorpusError, MissingExtraError, PairsError
    from fastattn.training import DivergedError, ModelFolderError, SettingsError, SourceError

    mendable = (PairsError, CorpusError, MissingExtraError, DivergedError, ModelFolderError, SettingsError, SourceError)
    return UserError, *mendable, OSError
