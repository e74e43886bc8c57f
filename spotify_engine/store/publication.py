"""What becomes of a bundle when it is published: it is checked as a server would, and copied."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from spotify_engine.errors import InputError
from spotify_engine.pipelines import PIPELINES, Pipeline
from spotify_engine.store.bundle import MANIFEST
from spotify_engine.store.files import sync_folder


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


def check_servable(bundle: Path, pipeline: str) -> None:
    """Load a bundle as a server does, so that none is published that couldn't be served.

    Raises:
        InputError: a file is missing, changed or of another release, holds NaN, or doesn't fit.
    """
    # Recommenders are stored by this package, so they can't be imported with it.
    if pipeline == "playlists":
        from spotify_engine.playlists.recommender import PlaylistRecommender

        PlaylistRecommender.load(bundle)
    else:
        from spotify_engine.sessions.recommender import SessionRecommender

        SessionRecommender.load(bundle)


def copy_bundle(bundle: Path, folder: Path, manifest: bytes) -> None:
    """Copy what the manifest lists, and nothing else that lies there; on disk when it returns.

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
            target.flush()
            os.fsync(target.fileno())
        if digest.hexdigest() != facts["sha256"]:
            raise InputError(f"{bundle / name}: changed while it was copied; publish it again")
    with (folder / MANIFEST).open("wb") as target:
        target.write(manifest)
        target.flush()
        os.fsync(target.fileno())
    sync_folder(folder)
