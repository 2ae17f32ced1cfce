"""Sources that something follows from: a digest that changes when they do."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from pathlib import Path


@cache
def source_digest(*places: Path) -> str:
    """Of files, and of the Python sources below folders, with their names; read once in a process."""
    digest = sha256()
    for place in places:
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            content = path.read_bytes()
            digest.update(f"{path.relative_to(place.parent)} {len(content)} ".encode())
            digest.update(content)
    return digest.hexdigest()
