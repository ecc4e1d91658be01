"""The interactive prompt: a line is continued; one that begins with / sets or shows something."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from glassformer.cli.answer import Answers
from glassformer.cli.chat_answer import ChatAnswers
from glassformer.cli.streams import say
from glassformer.errors import GlassformerError, did_you_mean
from glassformer.show.sheet import Sheet

HELP = """\
Write a text and the model continues it. Lines that begin with / are commands:
  /temperature 0.7        divide the scores by this; 0 is greedy
  /top-k 40               only the 40 most probable tokens; off takes it away
  /top-p 0.9              only the smallest set with this probability together
  /min-p 0.05             only what is this many times as probable as the first
  /repetition-penalty 1.2 hold back tokens that the text already has
  /max-tokens 100         at most so many new tokens
  /stop TEXT              stop where this text comes; off takes it away
  /seed 1                 draw the same numbers every time; off draws new ones
  /new                    begin another conversation (with --chat)
  /settings               what is set
  /show                   how the last answer's first token came, on one screen
  /why [N]                why the last answer has its first (or Nth) token
  /trace                  every stage of the last answer, in numbers
  /help, /quit            quit alone leaves too"""

Number = TypeVar("Number", int, float)
SAMPLING: dict[str, Callable[[str], float]] = {
    "temperature": float,
    "top-k": int,
    "top-p": float,
    "min-p": float,
    "repetition-penalty": float,
}
NOW = ("new", "settings", "show", "why", "trace", "help", "quit")
COMMANDS = tuple(f"/{name}" for name in (*SAMPLING, "max-tokens", "stop", "seed", *NOW))


LEAVE = ("quit", "exit")


def converse(answers: Answers, show: bool = False) -> None:
    """Read lines until quit or the end of the input (Ctrl-D); `show`: each answer as /show does."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter

    chats = isinstance(answers, ChatAnswers)
    say(f"Write a {'message' if chats else 'text to continue'} ({settings(answers)}).")
    say("/help for commands, quit to leave.")
    completer = WordCompleter(list(COMMANDS), sentence=True)
    session: PromptSession[str] = PromptSession(completer=completer, complete_while_typing=False)
    while True:
        try:
            line = session.prompt("> ")
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        try:
            if not obey(answers, line, show):
                return
        except GlassformerError as error:
            say(f"error: {error}", error=True)
        except KeyboardInterrupt:
            say("(interrupted)")


def obey(answers: Answers, line: str, show: bool = False) -> bool:
    """Do what a line asks for; False when it asks to leave."""
    if not line.strip():
        return True
    if line.strip().lower() in LEAVE:
        return False
    if not line.startswith("/"):
        answers.complete(line)
        answers.print_end(Sheet())
        if show:
            answers.print_short()
        return True
    command, _, value = line[1:].partition(" ")
    value = value.strip()
    match command:
        case "quit":
            return False
        case "help":
            say(HELP)
        case "new" if isinstance(answers, ChatAnswers):
            answers.messages.clear()
        case "settings":
            say(settings(answers))
        case "why":
            answers.print_choice(Sheet(), number(command, value or "1", int) - 1)
        case "show":
            answers.print_short()
        case "trace":
            answers.print_trace()
        case _:
            change(answers, command, value)
            say(settings(answers))
    return True


def change(answers: Answers, name: str, value: str) -> None:
    """Set one setting from its text; "off" takes it away."""
    off = value == "off"
    if name in SAMPLING:
        default = {"temperature": 1.0, "repetition-penalty": 1.0}.get(name)
        setting = default if off else number(name, value, SAMPLING[name])
        chosen: dict[str, Any] = {name.replace("-", "_"): setting}
        answers.sampling = replace(answers.sampling, **chosen)
    elif name == "max-tokens":
        answers.max_tokens = number(name, value, int)
    elif name == "seed":
        answers.seed = None if off else number(name, value, int)
    elif name == "stop":
        answers.stop = [] if off or not value else [*answers.stop, value]
    else:
        raise GlassformerError(
            f"/{name} is no command.{did_you_mean(f'/{name}', COMMANDS)} /help lists them"
        )


def number(name: str, value: str, parse: Callable[[str], Number]) -> Number:
    try:
        return parse(value)
    except ValueError:
        kind = "a whole number" if parse is int else "a number"
        raise GlassformerError(f"/{name} takes {kind}, not {value!r}") from None


def settings(answers: Answers) -> str:
    """What is set, in one line."""
    seed = "a new seed each time" if answers.seed is None else f"seed {answers.seed}"
    stop = f", stop at {', '.join(map(repr, answers.stop))}" if answers.stop else ""
    most = "as the folder says" if answers.max_tokens is None else answers.max_tokens
    return f"{answers.sampling.summary()}; at most {most} tokens, {seed}{stop}"
