"""Find the first mistyped or misplaced word of a command line.

argparse reports what is missing before it reports what it does not know: a mistyped `--enviroment`
would be reported as a missing `--env`. And it accepts an empty value.
"""

import argparse
import re
from collections.abc import Mapping, Sequence

from ci.cli.help import GROUPS
from ci.config import nearest, similar

#: A hyphen, or a dash that a text processor made of one or two.
DASH = "-\N{HYPHEN}\N{NON-BREAKING HYPHEN}\N{FIGURE DASH}\N{EN DASH}\N{EM DASH}\N{MINUS SIGN}"
#: What argparse takes for a value although it begins with a hyphen.
NUMBER = re.compile(r"-\d+|-\d*\.\d+")
#: Commands that are named for having an option; of more, none is.
FEW = 4
MAY_BE_EMPTY = GROUPS["for the release record"]


def check(acso: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Report the first word of a command line that is no option, command or argument."""
    index = 0
    while index < len(words) and _is_option(words[index]):
        index += _check_option(acso, acso, words[index:])
    if index == len(words) or words[index] == "--":
        return  # no command: argparse reports it
    name, commands = words[index], commands_of(acso)
    if name not in commands:
        acso.error(f"unknown command {name!r} ({nearest(name, [*commands, '--help'])})")
    _check_command(acso, commands[name], words[index + 1 :])


def commands_of(acso: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    """Return the parsers of the commands."""
    (found,) = (a for a in acso._actions if isinstance(a, argparse._SubParsersAction))
    return dict(found.choices)


def options_of(parser: argparse.ArgumentParser) -> Mapping[str, argparse.Action]:
    """Return a parser's options by their names."""
    return {name: action for action in parser._actions for name in action.option_strings}


def _check_command(
    acso: argparse.ArgumentParser, command: argparse.ArgumentParser, words: Sequence[str]
) -> None:
    arguments = [action for action in command._actions if not action.option_strings]
    passed_on = any(action.nargs == argparse.REMAINDER for action in arguments)
    index = 0
    while index < len(words) and words[index] != "--":
        if _is_option(words[index]):
            index += _check_option(acso, command, words[index:])
        elif passed_on:
            return  # the rest is for another program
        elif not arguments:
            command.error(_superfluous(command, words, words[index]))
        else:
            index += 1


def _check_option(
    acso: argparse.ArgumentParser, parser: argparse.ArgumentParser, words: Sequence[str]
) -> int:
    """Check an option and its value; return how many words they are."""
    name, equals, value = words[0].partition("=")
    action = options_of(parser).get(name)
    if action is None:
        parser.error(_unknown(acso, parser, name))
    if action.nargs == 0 or (not equals and (len(words) == 1 or _is_option(words[1]))):
        return 1  # a flag, or without its value: argparse reports it
    if not (value if equals else words[1]) and action.dest not in MAY_BE_EMPTY:
        parser.error(f"argument {name}: its value is empty")
    return 1 if equals else 2


def _is_option(word: str) -> bool:
    """Return whether argparse takes a word for an option, or a person did who typed it."""
    name = word.partition("=")[0]
    option = len(word) > 1 and word[0] in DASH and word != "--"
    return option and " " not in name and not NUMBER.fullmatch(word)


def _unknown(acso: argparse.ArgumentParser, parser: argparse.ArgumentParser, name: str) -> str:
    """Return what is wrong with an option that the command does not have."""
    typed = "--" + name.lstrip(DASH).replace("_", "-")
    hint = _before_the_command if parser is acso else _after_the_command
    return f"unknown option {name!r} ({hint(acso, parser, typed)})"


def _before_the_command(
    acso: argparse.ArgumentParser, _: argparse.ArgumentParser, typed: str
) -> str:
    """Return what may be meant by an option before the command."""
    general = list(options_of(acso))
    others = [name for parser in commands_of(acso).values() for name in options_of(parser)]
    near = _similar(typed, [*general, *others])
    if near is None or near in general:
        return nearest(near or typed, general)
    meant = "it" if near == typed else f"did you mean {near!r}? It"
    return f"{meant} follows the command: ./acso COMMAND {near}"


def _after_the_command(
    acso: argparse.ArgumentParser, parser: argparse.ArgumentParser, typed: str
) -> str:
    """Return what may be meant by an option of a command."""
    own, general = list(options_of(parser)), list(options_of(acso))
    near = _similar(typed, own)
    owners = [key for key, other in commands_of(acso).items() if typed in options_of(other)]
    where = f"precedes the command: ./acso {{}} ... {parser.prog.partition(' ')[2]}"
    if typed in general:
        return f"it {where.format(typed)}"
    if typed not in own and 0 < len(owners) <= FEW:
        return f"it is an option of {', '.join(owners)}"
    if near is None and _takes_program(parser):
        return "options of another program follow --"
    if near is None and (elsewhere := _similar(typed, general)):
        return f"did you mean {elsewhere!r}? It {where.format(elsewhere)}"
    return nearest(near or typed, own)


def _similar(typed: str, names: Sequence[str]) -> str | None:
    """Return the most similar option; one letter alone is the first of its name."""
    if len(typed) > len("--x"):
        return similar(typed, names)
    return min((name for name in names if name.startswith(typed)), key=len, default=None)


def _takes_program(parser: argparse.ArgumentParser) -> bool:
    return any(str(action.metavar).startswith("-- ") for action in parser._actions)


def _superfluous(command: argparse.ArgumentParser, words: Sequence[str], word: str) -> str:
    """Return what is wrong with a word where only options are expected."""
    given = {item.partition("=")[0] for item in words}
    options = (action for action in command._actions if action.required)
    missing = [a.option_strings[0] for a in options if given.isdisjoint(a.option_strings)]
    hint = f" (did you mean '{missing[0]} {word}'?)" if missing else ""
    return f"unknown argument {word!r}{hint}"
