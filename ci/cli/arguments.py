"""Arguments of the command line: the parser, and the values that are refused before a start."""

import argparse
import datetime
import os
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from ci.cli import mistakes
from ci.cli.session import SECRETS
from ci.common import tables
from ci.config import nearest
from ci.errors import AcsoError, UsageError
from ci.pipeline.arguments import LARGEST, LEAST, check_url
from ci.release.observe import logs

#: Usage of arguments that are passed on to a program; argparse would repeat "-- COMMAND".
PASSED_ON = MappingProxyType(
    {
        "args": "-- COMMAND [ARGUMENT ...]",
        "argv": "-- COMMAND [ARGUMENT ...]",
        "arguments": "[ARGUMENT ...]",
    }
)


class NotRunError(Exception):
    """The command line asks for help, or is wrong: its text or error is how the command ends."""

    def __init__(self, command: str, end: str | AcsoError) -> None:
        super().__init__(command)
        self.command = command
        self.end = end


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps line breaks of descriptions, and shows the usage of commands that are passed on.

    Paragraphs that are wider than the terminal are filled, and lines of lists folded.
    """

    def _fill_text(self, text: str, width: int, indent: str) -> str:  # noqa: ARG002 (always empty)
        return "\n\n".join(_filled(part, width) for part in text.split("\n\n"))

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        return PASSED_ON.get(action.dest) or super()._format_args(action, default_metavar)


def _filled(text: str, width: int) -> str:
    if max(map(len, text.splitlines()), default=0) <= width:
        return text
    if "\n " in text or text.startswith(" "):
        return tables.fitted(text, width=width)
    return textwrap.fill(text, width, break_on_hyphens=False, break_long_words=False)


class Parser(argparse.ArgumentParser):
    """A parser that raises `NotRunError` and prints nothing.

    An option with a value is given once: with two, nobody knows which one was meant.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(formatter_class=HelpFormatter, allow_abbrev=False, **arguments)
        self.register("action", None, _Once)

    @property
    def command(self) -> str:
        """The name of the parser's command, empty for `acso` itself."""
        return self.prog.partition(" ")[2]

    def error(self, message: str) -> NoReturn:
        """Raise `NotRunError`; the hint is the help of the command."""
        raise NotRunError(self.command, UsageError(message, hint=f"./{self.prog} --help"))

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse all arguments; a mistyped or misplaced word is reported before a missing one."""
        mistakes.check(self, args)
        options, rest = self.parse_known_args(args, namespace)
        if rest:
            command = mistakes.commands_of(self)[options.command]
            command.error(f"unknown argument {rest[0]!r}")
        return options

    def print_help(self, file: object = None) -> None:  # noqa: ARG002 (argparse's signature)
        """Raise `NotRunError` with the help."""
        raise NotRunError(self.command, self.format_help())

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Name the nearest valid value, where argparse lists all of them."""
        if action.choices is not None and value not in action.choices:
            text = f"invalid choice: {value!r} ({nearest(str(value), list(action.choices))})"
            raise argparse.ArgumentError(action, text)


class _Once(argparse.Action):
    """Store a value; refuse a second one."""

    def __call__(
        self,
        _parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        _option: str | None = None,
    ) -> None:
        refuse_second(self, namespace)
        setattr(namespace, self.dest, values)


class OnceBoolean(argparse.BooleanOptionalAction):
    """A flag with two names, --x and --no-x; refuse a second one."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Store whether it is on."""
        refuse_second(self, namespace)
        super().__call__(parser, namespace, values, option_string)


def refuse_second(action: argparse.Action, namespace: argparse.Namespace) -> None:
    """Raise `argparse.ArgumentError` if an option was already given."""
    given = vars(namespace).setdefault("given_once", set())
    if action.option_strings and action.dest in given:
        raise argparse.ArgumentError(action, "given twice")
    given.add(action.dest)


def secret(value: str) -> str:
    """Return a secret's reference; refuse a plain value, which other users could see in `ps`."""
    if not value.startswith(SECRETS):
        message = "a secret is given by reference: env://NAME, file://PATH or cmd://COMMAND"
        raise argparse.ArgumentTypeError(message)
    kind, _, name = value.partition("://")
    if kind == "env" and name not in os.environ:
        message = f"{value}: the environment has no variable {name}"
        raise argparse.ArgumentTypeError(message)
    if kind == "file" and not Path(name).is_file():
        message = f"{value}: there is no such file"
        raise argparse.ArgumentTypeError(message)
    return value


def writable(value: str) -> Path:
    """Return the path of a file to write; refuse it now, not after minutes of work."""
    path = Path(value)
    try:
        if path.is_dir() or not path.absolute().parent.is_dir():
            reason = "it is a directory" if path.is_dir() else "its directory does not exist"
            message = f"cannot write {value}: {reason}"
            raise argparse.ArgumentTypeError(message)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot write {value}: {error.strerror}") from error
    return path


def file(value: str) -> str:
    """Return the path of a file to read; refuse it if it cannot be read."""
    try:
        with Path(value).open("rb") as opened:
            opened.read(1)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot read {value}: {error.strerror}") from error
    return value


def directory(value: str) -> str:
    """Return the path of a directory; refuse it if there is none."""
    if not Path(value).is_dir():
        raise argparse.ArgumentTypeError(f"{value}: there is no such directory")
    return value


def number(name: str) -> Callable[[str], int]:
    """Return the argparse type of a function's number, with its minimum."""

    def read(value: str) -> int:
        try:
            found = int(value)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{value!r} is not a whole number") from None
        least = LEAST.get(name, 0)
        if not least <= found <= LARGEST:
            message = f"{value} is not a number from {least} to {LARGEST}"
            raise argparse.ArgumentTypeError(message)
        return found

    return read


def checked(check: Callable[[str], object]) -> Callable[[str], str]:
    """Return the argparse type of a text; refuse what the check raises `UsageError` for."""

    def read(value: str) -> str:
        try:
            check(value)
        except UsageError as error:
            raise argparse.ArgumentTypeError(f"{error} ({error.hint})") from None
        return value

    return read


#: Texts of a certain form, by the name of the parameter.
CHECKED: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {
        "endpoint": checked(check_url),
        "since": checked(lambda value: logs.moment(value, datetime.datetime.now(datetime.UTC))),
        "grep": checked(logs.expression),
    }
)
