"""Prints docs/cli.md, made from the command line itself: a verb or an option without help shows at once."""

from __future__ import annotations

from collections.abc import Iterator

import typer.main
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from airlock.cli import program

INTRODUCTION = """\
# Command line

`.venv/bin/airlock`, or `python -m airlock.cli`. Made from the program itself by `make docs`.

Every verb ends with one of these exit codes:

| Exit code | Meaning |
|---|---|
| 0 | true, healthy, proven, allowed |
| 1 | false, unhealthy, tampered, refused |
| 2 | wrong usage, or it could not run |
| 3 | it could not decide or prove |
| 4 | it waits for an approval |

Answers go to standard output, everything else to standard error; with `--json` the answer is one JSON object.
"""


def document() -> str:
    """The whole page."""
    return INTRODUCTION + "".join(section(path, command) for path, command in verbs())


def verbs() -> Iterator[tuple[str, TyperCommand]]:
    """Every verb with its full name, in order of the program."""
    yield from _below("airlock", typer.main.get_command(program()))


def _below(path: str, command: object) -> Iterator[tuple[str, TyperCommand]]:
    if isinstance(command, TyperCommand):
        yield path, command
    elif isinstance(command, TyperGroup):
        for name, child in command.commands.items():
            yield from _below(f"{path} {name}", child)


def section(path: str, command: TyperCommand) -> str:
    """One verb: usage, what it does, a row for every argument and option."""
    arguments = [p for p in command.params if isinstance(p, TyperArgument)]
    options = [p for p in command.params if isinstance(p, TyperOption) and p.name != "help"]
    words = [path, *(_argument(argument) for argument in arguments), "[options]" if options else ""]
    paragraphs = [" ".join(part.split()) for part in (command.help or "").split("\n\n")]
    text = [f"\n## {path}\n", "```", " ".join(filter(None, words)), "```\n", "\n\n".join(paragraphs)]
    rows = [*map(_argument_row, arguments), *map(_option_row, options)]
    if rows:
        text += ["\n| | Default | Meaning |", "|---|---|---|", *rows]
    return "\n".join(text) + "\n"


def _argument(argument: TyperArgument) -> str:
    name = (argument.name or "").upper()
    return name if argument.required else f"[{name}]"


def _argument_row(argument: TyperArgument) -> str:
    return f"| `{(argument.name or '').upper()}` | {_default(argument)} | {_help(argument)} |"


def _option_row(option: TyperOption) -> str:
    value = "" if option.is_flag else " …"
    names = ", ".join(f"`{name}{value}`" for name in option.opts)
    required = "required" if option.required else _default(option)
    return f"| {names} | {required} | {_help(option)} |"


def _default(parameter: TyperArgument | TyperOption) -> str:
    value = parameter.default
    return (
        f"`{value}`" if isinstance(value, (str, int)) and not isinstance(value, bool) and value != "" else ""
    )


def _help(parameter: TyperArgument | TyperOption) -> str:
    text = getattr(parameter, "help", None)
    if not text:
        raise SystemExit(f"the parameter {parameter.name} has no help")
    return " ".join(str(text).split()).replace("|", "\\|")


if __name__ == "__main__":
    print(document(), end="")
