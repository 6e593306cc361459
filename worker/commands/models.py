"""`sluice models`: what is installed, what a worker with these settings loads, and from where."""

from __future__ import annotations

from collections.abc import Iterator

from models.spec import Variant
from worker.inference.registry import Artifact, find_artifact, list_artifacts, verify
from worker.inference.session import installed_providers
from worker.settings import Settings


def describe_models(whole: Settings) -> Iterator[str]:
    """Lines of text. What a worker would load is verified; raises ArtifactInvalid as a worker would."""
    settings = whole.inference
    provider = installed_providers()[0] if settings.provider == "auto" else settings.provider
    marks = dict(_marks(whole, provider))
    yield f"provider: {provider}"
    for artifact in list_artifacts(settings.models_dir):
        yield f"\n{artifact.reference}  ({artifact.spec.role})  {artifact.folder}"
        yield f"  labels: {', '.join(artifact.spec.label_names)}"
        for variant in artifact.spec.variants:
            yield f"  {_line(variant)}  {marks.get((artifact.reference, variant.name), '')}".rstrip()


def _line(variant: Variant) -> str:
    return f"{variant.name:<14} {variant.size_bytes / 1e6:5.1f} MB  sha256:{variant.sha256}"


def _marks(whole: Settings, provider: str) -> Iterator[tuple[tuple[str, str], str]]:
    """Of every model that a worker with these settings loads: (model, variant), and what it is there for."""
    settings = whole.inference
    wanted = [(name, "", "on trial") for name in whole.shadow.models.values()]
    wanted += [(name, settings.variant, "in use") for name in (settings.filter, settings.escalation) if name]
    wanted += [(name, "", "in use") for name in settings.additional]
    for reference, variant, mark in wanted:
        yield _verified(find_artifact(reference, settings.models_dir), variant, provider), mark


def _verified(artifact: Artifact, variant_name: str, provider: str) -> tuple[str, str]:
    variant = artifact.variant(variant_name, provider)
    verify(artifact, variant)
    return artifact.reference, variant.name
