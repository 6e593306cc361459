from __future__ import annotations

from pathlib import Path

import pytest

from tests.cascade.examples import ESCALATION, FILTER, policies, spec
from worker.cascade.policy import load_policies
from worker.cascade.policy_file import PolicyFile, read_policy_file
from worker.errors import PolicyInvalid, UnknownPolicy

HEAD = "version: 1\nrevision: r1\npolicies:\n"


def file_of(*labels: str, name: str = "default") -> str:
    return f"{HEAD}  {name}:\n    labels:\n" + "".join(f"      {label}\n" for label in labels)


def rule_of(text: str) -> tuple[float | None, float | None, tuple[float, float] | None]:
    (rule,) = policies(text).get("default").rules
    assert rule.first is not None
    return rule.first.review, rule.first.block, rule.band


def test_without_a_file_the_models_speak() -> None:
    found = policies()
    assert (found.names, found.version) == (("default",), "built-in")
    (rule,) = found.get("default").rules
    assert rule.first is not None
    assert (rule.first.review, rule.band) == (0.5, (0.3, 0.8))
    assert rule.first.block == pytest.approx(20 / 21)  # twenty times the odds of even


@pytest.mark.parametrize(
    ("label", "review", "block", "band"),
    [
        ("violence: {}", 0.5, 20 / 21, (0.3, 0.8)),
        ("violence: {review: 0.4, block: 0.9}", 0.4, 0.9, (0.3, 0.8)),
        ("violence: {review: 0.4}", 0.4, None, (0.3, 0.8)),
        ("violence: {block: 0.6}", None, 0.6, (0.3, 0.8)),
        ("violence: {review: 0.4, block: 0.9, band: [0.2, 0.6]}", 0.4, 0.9, (0.2, 0.6)),
        ("violence: {review: 0.4, band: [0.4, 0.4]}", 0.4, None, (0.4, 0.4)),
        # the models' own band grows until it holds the policy's threshold
        ("violence: {review: 0.1}", 0.1, None, (0.1, 0.8)),
        ("violence: {review: 0.9}", 0.9, None, (0.3, 0.9)),
        # at one in a hundred everything that the spec says moves with the scores
        ("violence: {prevalence: 0.01}", 0.01, 20 / 119, (3 / 696, 4 / 103)),
        # but what the file says stands at its own prevalence
        ("violence: {prevalence: 0.01, review: 0.02, block: 0.9}", 0.02, 0.9, (3 / 696, 4 / 103)),
    ],
)
def test_what_a_label_says(
    label: str, review: float | None, block: float | None, band: tuple[float, float]
) -> None:
    found = rule_of(file_of(label))
    assert found[0] == pytest.approx(review)
    assert found[1] == pytest.approx(block)
    assert found[2] == pytest.approx(band)


def test_labels_that_a_policy_does_not_name_keep_their_defaults() -> None:
    two = spec("filter", ("violence", "hate"))
    found = policies(file_of("violence: {review: 0.9}"), filter_spec=two).get("default")
    assert [rule.label for rule in found.rules] == ["violence", "hate"]


def test_an_ignored_label_plays_no_part() -> None:
    file = PolicyFile.parse(file_of("violence: {ignore: true}").encode(), "policy.yaml")
    (rule,) = load_policies(file, [spec("filter", ("violence", "nudity"))], None).get("default").rules
    assert rule.label == "nudity"


def test_a_file_without_default_keeps_the_built_in_one() -> None:
    found = policies(file_of("violence: {review: 0.1}", name="strict"))
    assert found.names == ("default", "strict")
    (rule,) = found.get("default").rules
    assert rule.first is not None
    assert rule.first.review == 0.5


def test_without_an_escalation_model_nothing_is_uncertain() -> None:
    (rule,) = policies(escalation_spec=None).get("default").rules
    assert (rule.escalation, rule.band) == (None, None)


def test_labels_of_either_model_are_known() -> None:
    found = policies(escalation_spec=spec("escalation", ("violence", "scream"))).get("default")
    assert [(rule.label, rule.first is None, rule.band is None) for rule in found.rules] == [
        ("violence", False, False),
        ("scream", True, True),
    ]


def test_the_version_tells_an_edit_that_forgot_the_revision() -> None:
    first, second = (policies(file_of(f"violence: {{review: {t}}}")).version for t in (0.4, 0.5))
    assert first.startswith("r1+")
    assert first != second


def test_an_unknown_policy_is_named_with_those_that_exist() -> None:
    with pytest.raises(UnknownPolicy, match=r"'nope' does not exist; known: default$"):
        policies().get("nope")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"policy.yaml: file: Input should be a valid dictionary"),
        ("]", r"policy.yaml: not YAML"),
        ("!!python/object/apply:os.getcwd []", r"not YAML: could not determine a constructor"),
        (file_of("violence: {review: 0.9, review: 0.1}"), r"keys given twice: review"),
        (HEAD.replace("1", "2", 1) + "  a: {}", r"version: Input should be 1 \(found 2\)"),
        (HEAD + "  a: {}\nextra: 1", r"extra: .*accepted: version, revision, policies"),
        (HEAD + "  a: {label: {}}", r"policies.a.label: .*accepted: description, labels"),
        (file_of("violence: {treshold: 1}"), r"labels.violence.treshold: .*accepted: review, block, band"),
        (
            file_of("violence: {review: 1.5}"),
            r"labels.violence.review: .*less than or equal to 1 \(found",
        ),
        (file_of("violence: {review: .nan}"), r"labels.violence.review: .*finite"),
        (file_of("violence: {review: 0.9, block: 0.1}"), r"review 0.9 must not be above block 0.1"),
        (file_of("violence: {band: [0.9, 0.1]}"), r"band \[0.9, 0.1\]: low must not be above high"),
        (file_of("violence: {review: 0.9, band: [0.1, 0.5]}"), r"does not hold the lowest threshold 0.9"),
        (file_of("violence: {prevalence: 0}"), r"prevalence: .*greater than 0"),
        (file_of("gore: {review: 0.5}"), r"policies.default: unknown labels gore; .* know: violence"),
        (file_of("violence: {ignore: true}"), r"every label is ignored, so everything would be allowed"),
        ("[" * 5000, r"not YAML|nested too deeply"),
    ],
)
def test_a_wrong_file_says_where_what_and_what_instead(text: str, message: str) -> None:
    with pytest.raises(PolicyInvalid, match=message):
        load_policies(PolicyFile.parse(text.encode(), "policy.yaml"), [FILTER], ESCALATION)


def test_a_policy_cannot_promise_what_only_the_escalation_looks_for() -> None:
    file = PolicyFile.parse(file_of("scream: {review: 0.1}").encode(), "policy.yaml")
    with pytest.raises(PolicyInvalid, match="only the escalation model knows scream"):
        load_policies(file, [FILTER], spec("escalation", ("violence", "scream")))


def test_a_default_that_does_not_exist_stops_the_start() -> None:
    with pytest.raises(PolicyInvalid, match="'strict' does not exist; accepted: default"):
        load_policies(None, [FILTER], None, default="strict")


def test_a_file_is_read_from_disk(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    with pytest.raises(PolicyInvalid, match=r"policy.yaml: cannot be read: No such file"):
        read_policy_file(path)
    path.write_text(file_of("violence: {review: 0.4}"))
    assert read_policy_file(path).policies["default"].labels["violence"].review == 0.4
