"""What travels to where the work is done."""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ser_core.audio import Limits
from ser_core.batch.storage import Stores
from ser_core.bundle import INFO, Bundle
from ser_core.recognizer import Recognizer


@dataclass(frozen=True)
class Setup:
    """What an actor needs to begin; the bundle travels along, so that no node needs to have it."""

    bundle: Mapping[str, bytes]
    """Its files by name."""
    stores: Stores
    limits: Limits
    timeout: float
    """Seconds after which judging one recording is a hang, and its process ends."""


def pack(bundle: Bundle) -> dict[str, bytes]:
    """The files that loading a bundle needs."""
    return {name: (bundle.path / name).read_bytes() for name in (INFO, *bundle.info["artefacts"])}


def unpack(bundle: Mapping[str, bytes]) -> Recognizer:
    """A bundle that was packed, loaded; nothing of it stays on the disk."""
    folder = Path(tempfile.mkdtemp(prefix="ser-bundle-"))
    try:
        for name, content in bundle.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return Recognizer.load(folder)
    finally:
        shutil.rmtree(folder)
