"""The command line: exit statuses, error lines, signals. Commands stand in `hub.cli.commands`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

import click

from hub.cli import compare as compare  # adds its commands
from hub.cli import running as running  # the same
from hub.cli.commands import cli
from hub.errors import MAX_LINE, HubError, printable


class Stopped(BaseException):
    """SIGINT or SIGTERM arrived; unwinds everything, so that nothing half-written stays.

    Not KeyboardInterrupt, for which click prints a line of its own.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _ignore(number: int, frame: FrameType | None) -> None:
    pass


def _stop(number: int, frame: FrameType | None) -> None:
    # A second signal must not interrupt the cleaning up that the first one started. It gets a handler that does
    # nothing: of a signal that came already and is then set to be ignored, Python prints a traceback.
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, _ignore)
    raise Stopped(number)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 done; 1 input, conversion or I/O failed; 2 usage; 3 verification failed; 130, 143 interrupted.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    try:
        result = cli.main(args=arguments, prog_name="hub", standalone_mode=False)
        return int(result or 0)
    except HubError as error:
        return _fail(str(error), error.exit_status)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.ClickException as error:
        return _fail(error.format_message(), 2)
    except Stopped as error:
        word = "terminated" if error.number == signal.SIGTERM else "interrupted"
        return _fail(f"{word}, nothing was left behind", 128 + error.number)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted, nothing was left behind", 130)
    except BrokenPipeError:
        # The reader of our output went away, as `head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError:
        return _fail("out of memory; give a smaller --max-memory or fewer --threads", 1)
    except OSError as error:
        name = f"{printable(error.filename)}: " if error.filename else ""
        return _fail(f"{name}{error.strerror or error}", 1)
    except Exception as error:
        if os.environ.get("HUB_TRACEBACK"):
            raise
        return _fail(
            f"internal error, {type(error).__name__}: {printable(error, 300)}; this is a bug of hub or of a plugin, "
            "HUB_TRACEBACK=1 shows where",
            1,
        )


def _fail(message: str, status: int) -> int:
    click.echo(f"hub: error: {printable(' '.join(message.split()), MAX_LINE)}", err=True)
    return status
