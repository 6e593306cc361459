"""Where models lie, which version is meant, and whether the files are what their spec says."""

from __future__ import annotations

import mmap
import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

import models.spec
from models.spec import SPEC_FILE, ModelSpec, Variant, file_sha256, read_spec
from worker.errors import ArtifactInvalid

NAME = r"[a-z0-9][a-z0-9._-]*"  # of a model or a version, where it becomes a path
SHIPPED = Path(models.spec.__file__).parent / "artifacts"

_Natural = list[tuple[int, int, str]]  # of a run of digits: 1, its number; of other text: 0, 0, the text

# How ONNX writes the key that names a second file (TensorProto.external_data, a StringStringEntryProto).
_SECOND_FILE = b"\x0a\x08location"


@dataclass(frozen=True, slots=True)
class Artifact:
    """One version of one model on disk: ``<root>/<name>/<version>/spec.json`` and its weights."""

    folder: Path
    spec: ModelSpec

    @property
    def reference(self) -> str:
        return f"{self.spec.name}@{self.spec.version}"

    def path(self, variant: Variant) -> Path:
        return self.folder / variant.file

    def variant(self, name: str, provider: str) -> Variant:
        """The variant of this name; an empty name: the one measured best for the provider."""
        if not name:
            return self.spec.variant_for(provider)
        for variant in self.spec.variants:
            if variant.name == name:
                return variant
        raise ArtifactInvalid(
            f"{self.reference} has no variant {name!r}; accepted: "
            f"{', '.join(variant.name for variant in self.spec.variants)}, or empty for the best"
        )


def find_artifact(reference: str, models_dir: Path | None = None) -> Artifact:
    """``name`` (its newest version) or ``name@version``; a name in ``models_dir`` hides a shipped one."""
    name, _, version = reference.partition("@")
    roots = _roots(models_dir)
    root = next((root for root in roots if _versions(root, name)), None)
    if root is None:
        raise ArtifactInvalid(
            f"no model {name!r} in {' or '.join(map(str, roots))}; "
            f"found: {', '.join(name for root in roots for name in _names(root)) or 'none'}. "
            "Set `inference.models_dir` to a folder of <name>/<version>/spec.json"
        )
    versions = _versions(root, name)
    if version and version not in versions:
        raise ArtifactInvalid(f"no version {version!r} of {name!r} in {root}; found: {', '.join(versions)}")
    return _read(root / name / (version or versions[-1]))


def list_artifacts(models_dir: Path | None = None) -> tuple[Artifact, ...]:
    """Every version of every model that can be found, by name and age.

    Raises ArtifactInvalid for a spec that is wrong.
    """
    root_of = {name: root for root in reversed(_roots(models_dir)) for name in _names(root)}
    return tuple(
        _read(root / name / version)
        for name, root in sorted(root_of.items())
        for version in _versions(root, name)
    )


def read_artifact(folder: Path) -> Artifact:
    """What lies in ``folder``, whatever that is called. Raises ArtifactInvalid for a spec that is wrong."""
    path = folder / SPEC_FILE
    try:
        return Artifact(folder, read_spec(folder))
    except OSError as error:
        raise ArtifactInvalid(f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise ArtifactInvalid(f"{path}: {_explain(error)}") from error


def verify(artifact: Artifact, variant: Variant) -> None:
    """Raise ArtifactInvalid unless the file has the size and the digest that the spec states.

    It must hold all weights: what lies in a second file is covered by no digest, wherever that file is.
    """
    path = artifact.path(variant)
    advice = "restore the file or train the model again; never edit an artifact in place"
    try:
        size_bytes = path.stat().st_size
        found = file_sha256(path) if size_bytes == variant.size_bytes else ""
    except OSError as error:
        raise ArtifactInvalid(f"{path}: cannot be read: {error.strerror}; {advice}") from error
    if size_bytes != variant.size_bytes:
        raise ArtifactInvalid(f"{path}: expected {variant.size_bytes} bytes, found {size_bytes}; {advice}")
    if found != variant.sha256:
        raise ArtifactInvalid(f"{path}: expected sha256 {variant.sha256}, found {found}; {advice}")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data.find(_SECOND_FILE) >= 0:
            raise ArtifactInvalid(
                f"{path}: some weights are in another file, which no digest covers; "
                "save the model with all of its weights inside"
            )


def _roots(models_dir: Path | None) -> tuple[Path, ...]:
    return (SHIPPED,) if models_dir is None else (models_dir, SHIPPED)


def _read(folder: Path) -> Artifact:
    artifact = read_artifact(folder)
    spec, found = artifact.spec, f"{folder.parent.name}/{folder.name}"
    if found != f"{spec.name}/{spec.version}":
        raise ArtifactInvalid(
            f"{folder / SPEC_FILE}: expected in a folder {spec.name}/{spec.version}, found {found}; "
            "rename the folder"
        )
    return artifact


def _explain(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, detail['loc'])) or 'file'}: {detail['msg']}, found {detail['input']!r:.80}"
        for detail in error.errors(include_url=False)
    )


def _names(root: Path) -> list[str]:
    return sorted({path.parent.parent.name for path in root.glob(f"*/*/{SPEC_FILE}")})


def _versions(root: Path, name: str) -> list[str]:
    """Oldest first; hidden folders are no versions."""
    if not re.fullmatch(NAME, name):
        return []  # never leave ``root`` by a name such as ../..
    found = (path.parent.name for path in (root / name).glob(f"*/{SPEC_FILE}"))
    return sorted((version for version in found if not version.startswith(".")), key=version_order)


def version_order(version: str) -> tuple[_Natural, bool, _Natural]:
    """To sort versions by, the newest last.

    As in semantic versions, what has a hyphen comes before its release: 1.0.0-rc1 before 1.0.0. Numbers count
    as numbers everywhere, so 1.10 is newer than 1.9, and rc10 than rc2.
    """
    release, hyphen, candidate = version.partition("-")
    return _natural(release), not hyphen, _natural(candidate)


def _natural(text: str) -> _Natural:
    parts = re.findall(r"\d+|\D+", text)
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts]
