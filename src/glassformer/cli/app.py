"""The command `glassformer`: its verbs, loaded when they run, and its errors, on one line.

Nothing heavy is imported here: `glassformer --help` and shell completion answer at once because
a verb's module, and torch with it, is imported only when that verb is about to run.
"""

import contextlib
import copy
import importlib
import signal
import sys
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import typer
import typer.core
import typer.main

from glassformer.cli.streams import (
    open_closed_streams,
    say,
    sentence_of,
    silence_stdout,
    spell_what_can_be_spelled,
    warnings_as_notes,
)
from glassformer.cli.torchrun import is_repeated, leave_for_torchrun
from glassformer.errors import GlassformerError
from glassformer.memory import use_huge_pages

# verb -> what it does; the verb's function is `command` in the module of the same name beside this
VERBS: dict[str, str] = {
    "learn": "Take a lesson of the course, on your own text.",
    "course": "Write the whole course to one HTML file.",
    "demo": "Train a small model on the built-in corpus and look inside it.",
    "train": "Train a model on text, resume a run, or fine-tune a model.",
    "sweep": "Train variants of a training and compare them.",
    "eval": "Measure loss, perplexity and bits per byte on a text.",
    "ask": "Complete a prompt, or go on prompting.",
    "trace": "Show every stage from a prompt to the next token.",
    "explain": "Show the arithmetic behind one number.",
    "step": "Watch one training step: how weights learn from a text.",
    "biography": "Follow a weight or a value through training.",
    "lab": "Change a number, look inside, measure: what follows?",
    "serve": "Serve the page: walk through a model and touch every number.",
    "page": "Write the page about a prompt to one HTML file.",
    "plot": "Draw attention, probabilities, the loss and the embeddings.",
    "export": "Write a model for other programs, with its tokenizer and a card.",
    "params": "Count a model's parameters.",
    "tokenize": "Show a text as tokens, ids and bytes, merge by merge.",
}


def _without_types(options: list[Any]) -> list[Any]:
    """Options whose help puts no `<bool>` beside those that take no value."""
    for option in options:
        if getattr(option, "is_flag", False):
            option.metavar = ""
    return options


def _in_one_column(option: Any) -> Any:
    """For help: an option whose opposite takes no column of its own from all the others."""
    if not option.secondary_opts:
        return option
    option = copy.copy(option)
    option.opts, option.secondary_opts = [*option.opts, *option.secondary_opts], []
    return option


def _refuse_repeats(command: Any, ctx: Any, args: list[str]) -> None:
    """Options that take one value refuse a second one: the first would be lost without a word."""
    arguments = command.make_parser(ctx).parse_args(args=[*args])[2]
    for option in (param for param in arguments if param.param_type_name == "option"):
        harmless = option.multiple or (option.is_flag and not option.secondary_opts)  # on is on
        if arguments.count(option) > 1 and not harmless and not ctx.resilient_parsing:
            ctx.fail(
                f"{'/'.join(option.opts + option.secondary_opts)} is given twice; give it once"
            )


class Verb(typer.core.TyperCommand):
    """A command of ours."""

    context_class = typer.Context  # what commands and their callbacks say that they take

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self.params = [*map(_in_one_column, self.params)]
        super().format_help(ctx, formatter)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _refuse_repeats(self, ctx, args)
        return super().parse_args(ctx, args)


class VerbGroup(typer.core.TyperGroup):
    """A group of commands that imports a verb's module when the verb is run or completed."""

    package = "glassformer.cli"
    spelled_also: ClassVar[Mapping[str, str]] = {}

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args or ["--help"])

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        args = [self.spelled_also.get(args[0], args[0]), *args[1:]]
        name, command, rest = super().resolve_command(ctx, args)
        return name, command if name is None else load_verb(name, self.package), rest


def load_verb(name: str, package: str = VerbGroup.package) -> Any:
    """Import a verb's module and return its command, ready to be run or to print its help.

    A verb whose module is a package with verbs of its own, `VERBS`, is a group of them.
    """
    module = importlib.import_module(f"{package}.{name.replace('-', '_')}")
    if hasattr(module, "VERBS"):
        attributes = {
            "package": module.__name__,
            "spelled_also": getattr(module, "SPELLED_ALSO", {}),
        }
        verbs = type("Verbs", (VerbGroup,), attributes)
        group = typer.Typer(name=name, cls=verbs, help=module.__doc__, add_completion=False)
        group.callback()(lambda: None)
        list_verbs(group, module.VERBS)
        return typer.main.get_command(group)
    verb = typer.Typer(add_completion=False)
    verb.command(name, cls=Verb)(module.command)
    return typer.main.get_command(verb)


def list_verbs(group: typer.Typer, verbs: dict[str, str]) -> None:
    """Name the verbs in the group's help; `load_verb` brings what stands behind a name."""
    for name, summary in verbs.items():
        group.command(name, help=summary)(lambda: None)


app = typer.Typer(cls=VerbGroup, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def glassformer(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """A transformer language model with glass walls: every number has a name and an explanation."""
    if version:
        from importlib import metadata

        say(f"glassformer {metadata.version('glassformer')}")
        raise typer.Exit


list_verbs(app, VERBS)


def run() -> int:
    """Run the command line and return its exit code; an error is one line on stderr."""
    spell_what_can_be_spelled()
    result = None
    try:
        with warnings_as_notes():
            result = app(prog_name="glassformer", standalone_mode=False)
        sys.stdout.flush()
    except GlassformerError as error:
        return fail(str(error))
    except typer.TyperException as error:  # an unknown option, a missing argument, ...
        message = error.format_message()
        context = getattr(error, "ctx", None)
        if context is not None:
            stop = "" if message.endswith((".", "?")) else "."
            message += f"{stop} See '{context.command_path} --help'."
        return fail(message)
    except BrokenPipeError:  # the reader of the output has gone, as in `glassformer ... | head`
        silence_stdout()
        return result if isinstance(result, int) and result else 1
    except OSError as error:  # no such file, no permission, disk full, ...
        return fail(sentence_of(error))
    return result if isinstance(result, int) else 0


def fail(message: str) -> int:
    line = f"error: {' '.join(message.split())}"
    leave_for_torchrun(line)
    if not is_repeated():
        with contextlib.suppress(OSError):  # nobody is there to be told
            say(line, error=True)
    return 2


def main() -> None:
    if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:  # it has started, see `__main__`
        signal.signal(signal.SIGINT, signal.default_int_handler)
    open_closed_streams()
    use_huge_pages()
    sys.exit(run())
