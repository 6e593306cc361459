"""`sluice models`: what is installed, what a worker with these settings loads, and from where."""

from __future__ import annotations

from collections.abc import Iterator

from models.spec import Variant
from worker.inference.registry import Artifact, find_artifact, list_artifacts, verify
from worker.inference.session import installed_providers
from worker.settings import InferenceSettings


def describe_models(settings: InferenceSettings) -> Iterator[str]:
    """Lines of text. What a worker would load is verified; raises ArtifactInvalid as a worker would."""
    provider = installed_providers()[0] if settings.provider == "auto" else settings.provider
    used = dict(_used(settings, provider))
    yield f"provider: {provider}"
    for artifact in list_artifacts(settings.models_dir):
        yield f"\n{artifact.reference}  ({artifact.spec.role})  {artifact.folder}"
        yield f"  labels: {', '.join(artifact.spec.label_names)}"
        for variant in artifact.spec.variants:
            mark = "in use" if used.get(artifact.reference) == variant.name else ""
            yield f"  {_line(variant)}  {mark}".rstrip()


def _line(variant: Variant) -> str:
    return f"{variant.name:<14} {variant.size_bytes / 1e6:5.1f} MB  sha256:{variant.sha256}"


def _used(settings: InferenceSettings, provider: str) -> Iterator[tuple[str, str]]:
    """(model, variant) of every model that a worker with these settings loads."""
    wanted = [(name, settings.variant) for name in (settings.filter, settings.escalation) if name]
    wanted += [(name, "") for name in settings.additional]
    for reference, variant in wanted:
        yield _verified(find_artifact(reference, settings.models_dir), variant, provider)


def _verified(artifact: Artifact, variant_name: str, provider: str) -> tuple[str, str]:
    variant = artifact.variant(variant_name, provider)
    verify(artifact, variant)
    return artifact.reference, variant.name
