"""`sluice models`: what is installed, what is used, from where."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from worker.inference.registry import Artifact, find_artifact, list_artifacts, verify
from worker.inference.session import installed_providers
from worker.settings import InferenceSettings, Settings


def print_models(settings: Settings) -> None:
    """Every variant of every artifact; the ones that a worker would load are marked and verified."""
    inference = settings.inference
    provider = installed_providers()[0] if inference.provider == "auto" else inference.provider
    used = dict(_used(inference, provider))
    table = Table(title=f"models (provider: {provider})", title_justify="left", header_style="bold")
    for column in ("used", "model", "role", "variant", "MB", "sha256", "file"):
        table.add_column(column, overflow="fold", no_wrap=column in ("used", "role", "MB"))
    for artifact in list_artifacts(inference.models_dir):
        for variant in artifact.spec.variants:
            table.add_row(
                "yes" if used.get(artifact.reference) == variant.name else "",
                artifact.reference,
                artifact.spec.role,
                variant.name,
                f"{variant.size_bytes / 1e6:.1f}",
                variant.sha256,
                str(artifact.path(variant)),
            )
    Console().print(table)


def _used(inference: InferenceSettings, provider: str) -> list[tuple[str, str]]:
    """(model, variant) that a worker with these settings loads. Raises ArtifactInvalid as it would."""
    wanted = [reference for reference in (inference.filter, inference.escalation) if reference]
    return [_checked(find_artifact(name, inference.models_dir), inference, provider) for name in wanted]


def _checked(artifact: Artifact, inference: InferenceSettings, provider: str) -> tuple[str, str]:
    variant = artifact.variant(inference.variant, provider)
    verify(artifact, variant)
    return artifact.reference, variant.name
