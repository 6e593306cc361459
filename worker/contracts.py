"""Generates the published contracts: JSON Schemas of the messages and an AsyncAPI 3.0 document.

``python -m worker.contracts docs/schemas`` writes them; a test holds the files to the models.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel

from worker import __version__
from worker.messages import ShadowComparison, UploadEvent, Verdict

SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(model: type[BaseModel]) -> dict[str, Any]:
    """What the wire carries: the validation schema of what is read, else the serialisation schema."""
    mode: Literal["validation", "serialization"] = "validation" if model is UploadEvent else "serialization"
    return {"$schema": SCHEMA_DIALECT, **model.model_json_schema(mode=mode)}


def asyncapi() -> dict[str, Any]:
    def channel(address: str, message: str, description: str) -> dict[str, Any]:
        return {
            "address": address,
            "description": description,
            "messages": {message: {"$ref": f"#/components/messages/{message}"}},
        }

    def message(name: str, schema: str, description: str) -> dict[str, Any]:
        return {
            "name": name,
            "contentType": "application/json",
            "description": description,
            "payload": {"$ref": f"./{schema}"},
        }

    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Sluice",
            "version": __version__,
            "description": "Streaming video moderation: upload events in, verdicts out.",
            "license": {"name": "Apache-2.0"},
        },
        "channels": {
            "uploads": channel("uploads", "UploadEvent", "Read by Sluice. Key: upload_id."),
            "verdicts": channel(
                "verdicts",
                "Verdict",
                "Written by Sluice; compacted. The latest record of a key is the live one.",
            ),
            "shadow": channel(
                "verdicts.shadow", "ShadowComparison", "Written by Sluice while models are on trial."
            ),
            "deadLetters": {
                "address": "uploads.dlq",
                "description": "Records without a readable upload_id: the original key, value and headers, "
                "plus __connect.errors.* and sluice.reason.",
                "messages": {"DeadLetter": {"$ref": "#/components/messages/DeadLetter"}},
            },
        },
        "operations": {
            "readUploads": {"action": "receive", "channel": {"$ref": "#/channels/uploads"}},
            "writeVerdicts": {"action": "send", "channel": {"$ref": "#/channels/verdicts"}},
            "writeShadow": {"action": "send", "channel": {"$ref": "#/channels/shadow"}},
            "writeDeadLetters": {"action": "send", "channel": {"$ref": "#/channels/deadLetters"}},
        },
        "components": {
            "messages": {
                "UploadEvent": message(
                    "UploadEvent",
                    "upload-event.schema.json",
                    "Plain JSON, or CloudEvents 1.0 in Kafka's binary or structured mode.",
                ),
                "Verdict": message("Verdict", "verdict.schema.json", "The decision on one upload."),
                "ShadowComparison": message(
                    "ShadowComparison",
                    "shadow-comparison.schema.json",
                    "What models on trial say of an upload, beside its verdict.",
                ),
                "DeadLetter": {
                    "name": "DeadLetter",
                    "description": "The bytes of the record that could not be read.",
                    "contentType": "application/octet-stream",
                    "payload": {},
                },
            }
        },
    }


def documents() -> dict[str, str]:
    """File name -> content."""
    return {
        "upload-event.schema.json": json.dumps(json_schema(UploadEvent), indent=2) + "\n",
        "verdict.schema.json": json.dumps(json_schema(Verdict), indent=2) + "\n",
        "shadow-comparison.schema.json": json.dumps(json_schema(ShadowComparison), indent=2) + "\n",
        "asyncapi.yaml": yaml.safe_dump(asyncapi(), sort_keys=False, width=110),
    }


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in documents().items():
        (folder / name).write_text(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
