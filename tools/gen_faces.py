"""The reference pages of the command line and of the Python face, from their own texts.

Used by `gen_reference.py`. Commands are read from click, the Python face from the docstrings and
signatures of what the public modules list in `__all__`; an undocumented name is an error.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from types import ModuleType

import click

NOTE = "<!-- Made by tools/gen_reference.py from the code; do not edit by hand. -->"

COMMANDS = f"""{NOTE}

# Commands

Listings take `-o table|json`; JSON is stable, with instants in RFC 3339, UTC. Settings may be given
as flags, variables or files: see [configuration](configuration.md).

Exit codes: 0 well, 1 no (it failed, or was refused), 2 wrong usage or an unknown name, 69 the
store cannot be reached, 70 the supervisor gave up, 75 try again later, 78 wrong configuration;
130 and 143 after a second signal.
"""

PYTHON = f"""{NOTE}

# Python

What these modules list is kept compatible between minor versions; everything else may move.
"""


FACES = ("duly", "duly.sync", "duly.outbound", "duly.outbound.mail", "duly.outbound.http",
         "duly.outbound.guarded", "duly.outbound.signing",
         "duly.outbound.rabbitmq", "duly.pipeline", "duly.testing")  # fmt: skip


def commands() -> str:
    """Return the page of all commands."""
    from duly.cli.command import cli

    root = click.Context(cli, info_name="duly", **cli.context_settings)
    return COMMANDS + "".join(_command(cli, root))


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            sub = command.get_command(context, name)
            assert sub is not None, f"click lists {name} and has it"
            yield from _command(sub, click.Context(sub, info_name=name, parent=context))
        return
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"\n## {context.command_path}\n\n    {usage}\n\n{_prose(command.help or '')}\n"
    options = [one.get_help_record(context) for one in command.get_params(context)]
    rows = [f"| `{_cell(names)}` | {_cell(text)} |" for names, text in filter(None, options)]
    if rows:
        yield "\n" + "\n".join(["| option | meaning |", "|---|---|", *rows]) + "\n"


def python() -> str:
    """Return the page of the Python face."""
    parts = [PYTHON]
    for name in FACES:
        module = importlib.import_module(name)
        parts.append(f"\n## {name}\n")
        parts += [_thing(module, one) for one in module.__all__ if not one.startswith("__")]
    return "".join(parts)


def _thing(module: ModuleType, name: str) -> str:
    thing = getattr(module, name)
    doc = inspect.getdoc(thing)
    assert doc, f"{module.__name__}.{name} has no docstring"
    text = f"\n### {name}\n\n"
    if inspect.isclass(thing):
        return text + _prose(doc) + "\n" + "".join(_members(thing))
    if inspect.isfunction(thing):
        return text + f"    {_signature(name, thing)}\n\n{_prose(doc)}\n"
    return text + _prose(doc) + "\n"


def _members(kind: type) -> Iterator[str]:
    """Yield what a class offers: what it has of others of this house, and its own."""
    ours = [one for one in kind.__mro__ if one.__module__.startswith("duly.")]
    offered = {name: member for one in reversed(ours) for name, member in vars(one).items()}
    for name, member in offered.items():
        if name.startswith("_"):
            continue
        if isinstance(member, property) and member.__doc__:
            yield f"\n- **`{name}`**: {_prose(member.__doc__)}\n"
        elif inspect.isfunction(member) and member.__doc__:
            yield f"\n- **`{_signature(name, member)}`**: {_prose(inspect.getdoc(member) or '')}\n"


def _signature(name: str, function: object) -> str:
    assert callable(function), "only what can be called has a signature"
    text = str(inspect.signature(function)).replace("self, ", "").replace("(self)", "()")
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", text)  # annotations, not defaults
    begin = "async " if inspect.iscoroutinefunction(function) else ""
    return f"{begin}{name}{text}"


def _prose(text: str) -> str:
    return inspect.cleandoc(text.replace("\b\n", "")).strip()


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
