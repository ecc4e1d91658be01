"""Neurons: a sum and a bend, a small network, and why a step can't learn."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from glassformer.course.asking import guess
from glassformer.course.classroom import Classroom
from glassformer.course.lesson import (
    Command,
    Curve,
    Heading,
    Lesson,
    Line,
    Net,
    Paragraph,
    Stage,
    Table,
    Task,
)
from glassformer.course.spell import code, quoted, term, visible
from glassformer.describe import counted
from glassformer.errors import GlassformerError
from glassformer.formula.spelling import number
from glassformer.model import Config, load_preset
from glassformer.ops import ACTIVATIONS
from glassformer.training.trainable import check_trainable

GIVEN = "the cat sat on"
"""The prompt of the worked example, whose network is small enough for a picture."""

KINDS = {
    "step": ("Step (perceptron)", "1 if z > 0, else 0", "1958; it can't learn by gradients"),
    "sigmoid": ("Sigmoid", "1 / (1 + e^-z)", "networks of the 1980s to 2000s"),
    "tanh": ("Tanh", "from -1 to 1, like sigmoid", "older networks that read word by word"),
    "relu": ("ReLU", "z if z > 0, else 0", "networks for pictures, the first transformer"),
    "gelu": ("GELU", "z times the normal distribution up to z", "GPT-2, GPT-3, BERT"),
    "silu": ("SiLU (Swish)", "z times sigmoid(z)", "Llama and many since"),
}
SHARP, SMOOTH = ("step", "sigmoid", "tanh"), ("relu", "gelu", "silu")
OTHER = "tanh"  # than our model's
FROM, TO, PLACES = -4.0, 4.0, 81
JUST_ABOVE = 1e-9  # zero: where a step goes straight up
AT = (-2.0, 0.5, 3.0)  # where slopes are listed

HEADING = Heading(
    name="6",
    title="Neurons",
    question="What does a neuron compute?",
    minutes=10,
)


def lesson(room: Classroom) -> Lesson:
    return HEADING.lesson(
        stages=[_by_hand(room), _network(room), _curves(), _step(), _here(room)],
        takeaway="A [[neuron]] multiplies its inputs by [[weight|weights]], adds them and a"
        " [[bias]], and bends the sum by an [[activation function]]. The bend must have a slope, or"
        " [[gradient descent]] finds no way.",
    )


def values(kind: str, z: Tensor) -> Tensor:
    """An activation function of z, by the model's own kernel."""
    kernel: Callable[[Tensor], Tensor] = ACTIVATIONS[kind].kernel
    return kernel(z)


def slopes(kind: str, z: Tensor) -> Tensor:
    """Its slope at each z; of a step, which no gradient goes through, 0."""
    z = z.clone().requires_grad_()
    result = values(kind, z)
    if not result.requires_grad:
        return torch.zeros_like(z)
    return torch.autograd.grad(result.sum(), z)[0]


def inputs_of(room: Classroom) -> list[float]:
    """What goes into the neurons of the worked example after its last word."""
    trace = room.watch(GIVEN, "worked_example")
    return trace["fwd/blocks.0.ln2.normalized"][-1].double().tolist()


def _by_hand(room: Classroom) -> Stage:
    weights = room.state("worked_example").model.weights()["blocks.0.mlp.W_in"]
    inputs = [round(x, 1) for x in inputs_of(room)]
    column = [round(w, 1) for w in weights[:, 0].tolist()]
    products = [x * w for x, w in zip(inputs, column, strict=True)]
    total = round(sum(products), 2)
    fires = total > 0
    exact = room.watch(GIVEN, "worked_example")["fwd/blocks.0.mlp.pre"][-1, 0].item()
    return Stage(
        title="One neuron by hand",
        parts=[
            Paragraph(
                text="A [[neuron]] has inputs. Each has a [[weight]]. The neuron multiplies every"
                " input by its weight and adds all products. Often it adds one more number, the"
                " [[bias]]. Then it bends the sum: this one has [[ReLU]], which makes negative sums"
                " 0."
            ),
            Paragraph(
                text=f"This neuron is from a model with given weights. It has read “{GIVEN}”."
                f" Its inputs are {_list(inputs)}, rounded. Its weights are {_list(column)}. It has"
                " no bias."
            ),
            guess(
                "Does the neuron fire? That is, is its sum above 0?",
                "yes" if fires else "no",
                {
                    "no" if fires else "yes": "Look at the largest products: their signs decide.",
                },
                f"The sum is about {total}, so what comes out is {total if fires else 0}.",
            ),
            Task(
                question="What is the sum of the products?",
                expected=total,
                tolerance=0.02,
                hint="Multiply input by weight, four times. Then add.",
                worked=[
                    " + ".join(
                        f"{term(x)} × {term(w)}" for x, w in zip(inputs, column, strict=True)
                    )
                    + f" = {total}",
                    f"With all digits of the inputs it is {number(exact)}.",
                ],
            ),
            room.look(
                "This neuron's sum, with all digits",
                "fwd/blocks.0.mlp.pre[pos=3,d_mlp=0]",
                prompt=GIVEN,
                model="worked_example",
            ),
        ],
    )


def _list(numbers: list[float]) -> str:
    return f"({', '.join(map(str, numbers))})"


def _network(room: Classroom) -> Stage:
    trace = room.watch(GIVEN, "worked_example")
    weights = room.state("worked_example").model.weights()
    into, out = weights["blocks.0.mlp.W_in"], weights["blocks.0.mlp.W_out"]
    post, result = (trace[f"fwd/blocks.0.mlp.{name}"][-1] for name in ("post", "mlp_out"))
    columns = [inputs_of(room), post.tolist(), result.tolist()]
    return Stage(
        title="A small network",
        parts=[
            Paragraph(
                text="Neurons side by side make a layer. Layers one after the other make a network."
                " What comes in is the input layer, what comes out the output layer. All between"
                " are hidden layers. A network with many of them is called deep. Here"
                f" {counted(into.shape[0], 'input')} go into {counted(into.shape[1], 'neuron')},"
                f" and their results into {counted(out.shape[1], 'output')}. This is the [[MLP]] of"
                " the same small model. Each circle holds its number, each line its weight."
            ),
            Net(
                title=f"The MLP of the worked example after “{GIVEN}”",
                layers=[[number(x, 2) for x in column] for column in columns],
                weights=[into.tolist(), out.tolist()],
                note="From left to right: the inputs, the neurons after ReLU, the outputs. A neuron"
                " with 0 is silent: its lines carry nothing.",
            ),
        ],
    )


def _curves() -> Stage:
    z = torch.linspace(FROM, TO, PLACES, dtype=torch.float64)
    z = torch.cat([z, torch.tensor([JUST_ABOVE], dtype=torch.float64)]).sort().values
    points = torch.tensor(AT, dtype=torch.float64)

    def curve(title: str, up: str, kinds: tuple[str, ...], of: Callable[..., Tensor]) -> Curve:
        return Curve(
            title=title,
            axes=("the sum z", up),
            lines=[
                Line(name=KINDS[kind][0], x=z.tolist(), y=of(kind, z).tolist()) for kind in kinds
            ],
        )

    half = slopes("sigmoid", torch.zeros(1, dtype=torch.float64)).item()
    return Stage(
        title="Six ways to bend",
        parts=[
            Paragraph(
                text="The bend is called [[activation function]]. Without it, many layers would do"
                " no more than one: sums of sums are sums. Six of them were used most."
            ),
            Table(
                title="Activation functions",
                header=["name", "what it does with the sum z", "used in"],
                rows=[[*KINDS[kind]] for kind in KINDS],
            ),
            curve("The older ones", "what comes out", SHARP, values),
            curve("The newer ones", "what comes out", SMOOTH, values),
            Paragraph(
                text="Training needs the slope of the bend, its [[derivative]]. It says how much"
                " more comes out when the sum grows a little."
            ),
            curve("The slopes of the older ones", "slope", SHARP, slopes),
            curve("The slopes of the newer ones", "slope", SMOOTH, slopes),
            Table(
                title="Slopes at three places",
                header=["name", *(f"z = {at:g}" for at in AT)],
                rows=[
                    [KINDS[kind][0], *(number(x, 3) for x in slopes(kind, points).tolist())]
                    for kind in KINDS
                ],
                note="Far from 0, sigmoid and tanh are almost flat. Through many such layers almost"
                " nothing of a gradient is left: it vanishes.",
            ),
            Task(
                question="The slope of the [[sigmoid]] is s x (1 - s), where s is what comes out."
                " At z = 0 comes out s = 0.5. What is the slope there?",
                expected=half,
                tolerance=0.002,
                hint="0.5 times what?",
                worked=[f"0.5 × (1 - 0.5) = {half}"],
            ),
        ],
    )


def refusal() -> str:
    """What training says to a model whose neurons are steps."""
    config = Config.from_dict({**load_preset("miniature")["model"], "activation": "step"})
    try:
        check_trainable(config)
    except GlassformerError as error:
        return str(error)
    raise RuntimeError("a model of steps is not refused any more; this lesson says that it is")


def _step() -> Stage:
    nudge = 0.01
    z = torch.tensor([0.5, 0.5 + nudge], dtype=torch.float64)
    moved = {kind: (values(kind, z)[1] - values(kind, z)[0]).item() for kind in KINDS}
    return Stage(
        title="Why a step can't learn",
        parts=[
            Paragraph(
                text="To learn is to change a weight a little and see what becomes better. We"
                f" change the sum of a neuron from 0.5 to {0.5 + nudge}."
            ),
            guess(
                "Which neuron gives exactly the same as before?",
                KINDS["step"][0],
                {
                    KINDS[kind][0]: f"What comes out changes by {number(moved[kind], 2)}."
                    for kind in ("sigmoid", "relu", "gelu")
                },
                "The step gives 1 before and 1 after. Its slope is 0 almost everywhere. So the"
                " [[gradient]] of every weight before it is 0, and no weight knows where to go.",
            ),
            Table(
                title=f"From z = 0.5 to z = {0.5 + nudge}",
                header=["name", "what comes out changes by"],
                rows=[[KINDS[kind][0], number(moved[kind], 3)] for kind in KINDS],
            ),
            Paragraph(
                text="All six can be put into a model here, and five of them can learn. Whoever"
                f" asks to train a model with steps gets this answer: “{refusal()}”."
            ),
            Command(
                line=f"glassformer train {{text}} --activation {OTHER} --out runs/{OTHER}",
                shows=f"a model like ours, with {KINDS[OTHER][0]} in its neurons; the names are"
                f" {', '.join(KINDS)}",
            ),
        ],
    )


def _here(room: Classroom) -> Stage:
    config = room.model.config
    trace = room.watch(room.prompt)
    post = trace["fwd/blocks.0.mlp.post"]
    last = post.shape[-2] - 1
    strongest = int(post.reshape(-1, post.shape[-1])[-1].argmax())
    return Stage(
        title="Neurons in a transformer",
        parts=[
            Paragraph(
                text=f"Our model has {counted(config.n_layers * config.d_mlp, 'neuron')}:"
                f" {config.d_mlp} in the [[MLP]] of each block. They have [[GELU]], as those of"
                " GPT-2. GELU is smooth, so there is a slope almost everywhere. Attention has no"
                " neurons: it multiplies matrices and has a [[softmax]]. The last layer has none"
                " either: it gives scores."
            ),
            room.look(
                f"The neuron that fires most after {code(_last(room))}",
                f"fwd/blocks.0.mlp.post[pos={last},d_mlp={strongest}]",
            ),
            Command(
                line=f"glassformer trace {{course}} {quoted(room.prompt)} --only 'blocks.0.mlp.*'",
                shows="every neuron of the first block",
            ),
        ],
    )


def _last(room: Classroom) -> str:
    return visible(room.tokenizer.token(room.tokenizer.encode_prompt(room.prompt)[-1]))
