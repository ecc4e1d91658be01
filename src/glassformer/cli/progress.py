"""How training is shown: a live bar in a terminal, plain lines where the output is piped."""

from __future__ import annotations

import math
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from glassformer.formula.spelling import difference
from glassformer.metrics import Health, Row
from glassformer.safe_text import harmless

SECONDS_BETWEEN_LINES = 10.0  # of plain output, evaluations apart
DAY, YEAR = 86_400, 31_556_952  # seconds
SMOOTHING = 0.1  # of a new step in the shown loss and speed


class TrainingDisplay:
    """Takes the rows that `train` reports; a context manager.

    `floor`: the loss that no model can beat, where it is known.
    """

    def __init__(self, steps: int, console: Console, floor: float | None = None) -> None:
        self.steps, self.floor, self.console = steps, floor, console
        self.live = console.is_terminal
        self.loss: float | None = None
        self.speed: float | None = None
        self.latest: Row = {"step": 0}
        self._begun = (0, time.monotonic())  # the step before the first one shown, and when
        self._line_due = time.monotonic()
        self._bar = Progress(
            BarColumn(bar_width=24),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            _Numbers(self),
            console=console,
            disable=not self.live,
        )
        self._task = self._bar.add_task("training", total=steps)

    def __enter__(self) -> TrainingDisplay:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def __call__(self, row: Row) -> None:
        if "loss" in row:
            self._step(row["step"], row["loss"], row.get("tokens_per_second", 0.0))
            self.latest.update(row)
        elif "val_loss" in row or "text_loss" in row:
            self.latest.update(row)
            self._say(f"step {row['step']:>6,}  {measured(row)}")
        elif "unigram_loss" in row and "uniform_loss" in row:
            self._say(
                f"for comparison: knowing nothing {row['uniform_loss']:.3f}, knowing only how often"
                f" each token occurs {row['unigram_loss']:.3f} nats per token"
            )
        elif "uniform_loss" in row:
            guess = row["uniform_loss"]
            self._say(f"for comparison: preferring neither reply {guess:.3f} nats per pair")
        elif "sample" in row:
            text = " ".join(row["sample"].split())
            self._say(f"step {row['step']:>6,}  it writes: {text}", style="italic")
        elif "note" in row:
            self._say(row["note"], style="yellow")
        elif "health" in row:
            for warning in warnings(row["health"]):
                self._say(f"step {row['step']:>6,}  {warning}", style="yellow")

    def _step(self, step: int, loss: float, speed: float) -> None:
        if self.loss is None or self.speed is None:
            self.loss, self.speed = loss, speed
            self._begun = (step, time.monotonic())
        self.loss += SMOOTHING * (loss - self.loss)
        self.speed += SMOOTHING * (speed - self.speed)
        self._bar.update(self._task, completed=step)
        if not self.live and time.monotonic() >= self._line_due:
            self._line_due = time.monotonic() + SECONDS_BETWEEN_LINES
            self.console.print(f"step {step:>6,}  {self.numbers(step)}")

    def numbers(self, step: int) -> str:
        """Loss, floor, speed and time left, as of this step."""
        if self.loss is None or self.speed is None:
            return ""
        parts = [f"loss {self.loss:.3f}"]
        if self.floor is not None:
            parts.append(f"floor {self.floor:.3f}")
        parts.append(f"{self.speed:,.0f} tokens/s")
        begun, since = self._begun  # evaluations, samples and saving count too
        if step > begun:
            left = (self.steps - step) * (time.monotonic() - since) / (step - begun)
            parts.append(f"{duration(left)} left")
        return "  ".join(parts)

    def _say(self, text: str, style: str = "") -> None:
        self._bar.console.print(harmless(text), style=style)


class _Numbers(ProgressColumn):
    def __init__(self, display: TrainingDisplay) -> None:
        super().__init__()
        self.display = display

    def render(self, task: Task) -> Text:  # noqa: ARG002 (rich passes it)
        return Text(self.display.numbers(self.display.latest["step"]))


def measured(row: Row) -> str:
    """The measured loss in words, beside its floor where that is known."""
    if "text_loss" in row:
        return f"loss {row['text_loss']:.3f} on the whole text"
    held_out = row.get("val_loss", math.nan)
    text = f"held-out loss {held_out:.3f}"
    if "floor" in row:
        text += f", {difference(held_out, row['floor'], 3)} above the floor of {row['floor']:.3f}"
    return text


def warnings(health: Health) -> list[str]:
    """What in a health report deserves a look.

    >>> warnings({"update_to_weight": {"embed": 0.3}, "dead_units": {"blocks.0": 0.0}})
    ['embed changes by 30% of its size in one step: the learning rate may be too high']
    """
    result = [
        f"{layer} changes by {ratio:.0%} of its size in one step: the learning rate may be too high"
        for layer, ratio in health.get("update_to_weight", {}).items()
        if ratio > 0.1
    ]
    return result + [
        f"{share:.0%} of the neurons in {layer} never fire: they no longer learn"
        for layer, share in health.get("dead_units", {}).items()
        if share > 0.5
    ]


def duration(seconds: float) -> str:
    """A time as people say it.

    >>> [duration(s) for s in (0.4, 75, 7300, 3.5e6, 1e11)]
    ['0 s', '1 min 15 s', '2 h 1 min', '41 days', '3,169 years']
    """
    rounded = round(seconds)
    if rounded >= 2 * YEAR:
        return f"{round(rounded / YEAR):,} years"
    if rounded >= 2 * DAY:
        return f"{round(rounded / DAY)} days"
    if rounded < 60:
        return f"{rounded} s"
    if rounded < 3600:
        return f"{rounded // 60} min {rounded % 60} s"
    return f"{rounded // 3600} h {rounded % 3600 // 60} min"
