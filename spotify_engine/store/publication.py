"""Reading and copying a bundle as it is published."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from spotify_engine.errors import InputError
from spotify_engine.pipelines import PIPELINES, Pipeline
from spotify_engine.store.bundle import MANIFEST


def read_manifest(bundle: Path) -> tuple[bytes, Pipeline]:
    """The manifest's bytes, and the pipeline it names.

    Raises:
        InputError: it is missing, or names no pipeline of ours.
    """
    path = bundle / MANIFEST
    try:
        content = path.read_bytes()
        manifest = json.loads(content)
    except OSError as error:
        raise InputError(f"{bundle}: not a bundle ({MANIFEST} is missing)") from error
    except ValueError as error:
        raise InputError(f"{path}: not readable as JSON ({error})") from error
    pipeline = manifest.get("pipeline") if isinstance(manifest, dict) else None
    if pipeline not in PIPELINES:
        raise InputError(
            f"{path}: a bundle of {pipeline!r}; the pipelines are {' and '.join(PIPELINES)}"
        )
    return content, pipeline


def copy_bundle(bundle: Path, folder: Path, manifest: bytes) -> None:
    """Copy what the manifest lists, and nothing else that lies there.

    Args:
        manifest: its bytes, as :func:`read_manifest` gave them.

    Raises:
        InputError: a file is another one by now.
    """
    folder.mkdir(parents=True)
    for name, facts in json.loads(manifest)["files"].items():
        digest = hashlib.sha256()
        with (bundle / name).open("rb") as source, (folder / name).open("wb") as target:
            while block := source.read(1 << 20):
                digest.update(block)
                target.write(block)
        if digest.hexdigest() != facts["sha256"]:
            raise InputError(f"{bundle / name}: changed while it was copied; publish it again")
    (folder / MANIFEST).write_bytes(manifest)
