"""The questionnaire: each question is an option of the command line, and is asked where it was not given."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import click
import onnx

from models.adopt.description import Description, Layout, Refused, Scores, parse
from models.adopt.wrap import shape_of
from models.spec import Role

Answers = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Question:
    """``default`` None: it must be answered."""

    name: str
    text: str
    default: str | None = None
    choices: tuple[str, ...] = ()

    @property
    def type(self) -> click.ParamType[Any]:
        return click.Choice(self.choices) if self.choices else click.STRING

    @property
    def key(self) -> str:
        return self.name.replace("-", "_")


# fmt: off
QUESTIONS = (
    Question("name", "Name of the model."),
    Question("version", "Its version.", "1"),
    Question("role", "What it does: look at every upload beside the filter, instead of it, or escalate.", "additional", get_args(Role)),  # noqa: E501
    Question("labels", "NAME=OUTPUT[+OUTPUT...], space separated; for example nudity=1 gore=2+3."),
    Question("threshold", "Probability at or above which a label is reported.", "0.5"),
    Question("band", "LOW:HIGH, probabilities that escalate where the escalation model knows the label.", "0.3:0.7"),  # noqa: E501
    Question("prevalence", "Share of positives in the training set.", "0.5"),
    Question("layout", "Axes of the input: with a T it takes clips, else frames.", None, get_args(Layout)),
    Question("size", "HEIGHTxWIDTH of the frames that are decoded.", "224x224"),
    Question("crop", "HEIGHTxWIDTH that the network takes from their middle; empty: all.", ""),
    Question("fit", "How a picture comes to that size.", "stretch", ("stretch", "letterbox")),
    Question("frames", "Frames in a clip.", "4"),
    Question("frame-rate", "Frames a second.", "2"),
    Question("channels", "Order of the colours.", "RGB", ("RGB", "BGR")),
    Question("scale", "Pixels from 0 to 255 are multiplied by it: 1, or 1/255.", "1/255"),
    Question("mean", "Subtracted then, one number or three in the order of the channels.", "0"),
    Question("std", "Divided by then, one number or three.", "1"),
    Question("scores", "What the network gives: logits each on its own, logits before a softmax, or probabilities.", None, get_args(Scores)),  # noqa: E501
    Question("pool", "How frame scores become the clip's.", "max", ("max", "mean")),
    Question("source", "Where the network comes from."),
    Question("licence", "Licence of its weights."),
)
# fmt: on


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Every question as an option."""
    for question in reversed(QUESTIONS):
        default = f"  [default: {question.default}]" if question.default else ""
        text = question.text + default
        command = click.option(f"--{question.name}", question.key, type=question.type, help=text)(command)
    return command


def answered(given: Mapping[str, str | None], model: onnx.ModelProto, *, ask: bool) -> dict[str, str]:
    """All answers: given ones, else asked for, else the default. Raises Refused where there is none."""
    found = {name: value for name, value in given.items() if value is not None}
    likely = guesses(model)
    for question in QUESTIONS:
        if question.key in found:
            continue
        default = likely.get(question.key, question.default)
        if ask:
            found[question.key] = click.prompt(
                question.text, default=default, type=question.type, show_default=bool(default)
            )
        elif question.default is not None:
            found[question.key] = question.default
        else:
            hint = f" (perhaps {default})" if default else ""
            raise Refused(f"--{question.name} is missing{hint}: {question.text}")
    return found


def guesses(model: onnx.ModelProto) -> dict[str, str]:
    """What the graph itself suggests; only ever proposed, never taken unasked."""
    weights = {tensor.name for tensor in model.graph.initializer}
    shapes = [shape_of(value) for value in model.graph.input if value.name not in weights]
    found = {}
    if len(shapes) == 1 and (layout := _layout(shapes[0])):
        sizes = dict(zip(layout, shapes[0], strict=True))
        found["layout"] = layout
        if sizes["H"] and sizes["W"]:
            found["size"] = f"{sizes['H']}x{sizes['W']}"
        if sizes.get("T"):
            found["frames"] = str(sizes["T"])
    last = {name: node.op_type for node in model.graph.node for name in node.output}
    op = last.get(model.graph.output[0].name, "") if model.graph.output else ""
    found["scores"] = {"Softmax": "softmax", "Sigmoid": "sigmoid"}.get(op, "softmax_logits")
    return found


def _layout(shape: tuple[int | None, ...]) -> str | None:
    """By where the three channels are; the last place first, since frames can be three as well."""
    layouts = {4: ("NHWC", "NCHW"), 5: ("NTHWC", "NCTHW", "NTCHW")}.get(len(shape), ())
    return next((layout for layout in layouts if shape[layout.index("C")] == 3), None)


def described(answers: Answers) -> Description:
    """Answers in words to a description. Raises Refused naming what is wrong."""
    height, width = _size(answers["size"], "size")
    label = {
        "threshold": _number(answers["threshold"], "threshold"),
        "band": _numbers(answers["band"], "band", ":", (2,)),
        "training_prevalence": _number(answers["prevalence"], "prevalence"),
    }
    tree = {
        **{name: answers[name] for name in ("name", "version", "role", "pool", "source", "licence")},
        "labels": [{**_label(text), **label} for text in answers["labels"].split()],
        "video": {
            "frames": answers["frames"],
            "frame_rate_hz": _number(answers["frame_rate"], "frame-rate"),
            "height": height,
            "width": width,
            "fit": answers["fit"],
        },
        "input": {
            "layout": answers["layout"],
            "channels": answers["channels"],
            "crop": _size(answers["crop"], "crop") if answers["crop"] else None,
            "scale": _number(answers["scale"], "scale"),
            "mean": _per_channel(answers["mean"], "mean"),
            "std": _per_channel(answers["std"], "std"),
        },
        "output": {"scores": answers["scores"]},
    }
    return parse(tree, "the answers")


def _label(text: str) -> dict[str, Any]:
    name, found, outputs = text.partition("=")
    if not found or not re.fullmatch(r"\d+(\+\d+)*", outputs):
        raise Refused(f"--labels {text!r}: expected NAME=OUTPUT or NAME=OUTPUT+OUTPUT, for example nudity=1")
    return {"name": name, "outputs": [int(index) for index in outputs.split("+")]}


def _size(text: str, option: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match:
        raise Refused(f"--{option} {text!r}: expected HEIGHTxWIDTH, for example 224x224")
    return int(match[1]), int(match[2])


def _number(text: str, option: str) -> float:
    """A number or a fraction such as 1/255."""
    above, _, below = text.partition("/")
    try:
        return float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError) as error:
        raise Refused(f"--{option} {text!r}: expected a number or a fraction such as 1/255") from error


def _numbers(text: str, option: str, separator: str, counts: tuple[int, ...]) -> tuple[float, ...]:
    values = tuple(_number(part, option) for part in text.split(separator))
    if len(values) not in counts:
        raise Refused(
            f"--{option} {text!r}: expected {' or '.join(map(str, counts))} numbers, {separator!r} between"
        )
    return values


def _per_channel(text: str, option: str) -> tuple[float, ...]:
    values = _numbers(text, option, ",", (1, 3))
    return values if len(values) == 3 else values * 3
