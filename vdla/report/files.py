"""Report folders: checked before the long work, written aside and renamed, read back."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vdla.errors import ReportError
from vdla.report.model import SCHEMA, Report

DOCUMENT = "report.json"


class ReportFolder:
    """A place for a report, claimed before the run that fills it; a context manager.

    ::

        with ReportFolder(Path("out")) as folder:   # an unwritable place is refused here
            folder.write(simulate(...))
    """

    def __init__(self, path: Path, document: str = DOCUMENT) -> None:
        """Checks the place and creates the folder the files are collected in.

        Args:
            path: the folder; one that is there already must hold an older report.
            document: the file by which a report of this kind is known.

        Raises:
            ReportError: when the place cannot be written or is a folder that holds something else.
        """
        self.path = path
        try:
            if path.is_dir() and any(path.iterdir()) and not (path / document).is_file():
                raise ReportError(f"{path} holds something other than a report; give --report a new folder")
            if path.exists() and not path.is_dir():
                raise ReportError(f"{path} is a file; give --report a folder")
            path.parent.mkdir(parents=True, exist_ok=True)
            self._temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        except OSError as error:
            raise ReportError(f"cannot write a report to {path}: {error.strerror or error}") from error

    def __enter__(self) -> ReportFolder:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._temporary, ignore_errors=True)

    def write(self, report: Report) -> list[str]:
        """Writes the report of a run; see :meth:`write_files`."""
        return self.write_files(render_files(report))

    def write_files(self, files: Mapping[str, bytes]) -> list[str]:
        """Writes all files and puts the folder in its place; a report that was there is replaced.

        Returns:
            The names of the files.

        Raises:
            ReportError: when writing fails; the place is then as it was.
        """
        try:
            for name, content in files.items():
                (self._temporary / name).write_bytes(content)
            os.chmod(self._temporary, 0o755)
            if self.path.is_dir():
                shutil.rmtree(self.path)
            os.replace(self._temporary, self.path)
        except OSError as error:
            raise ReportError(f"cannot write a report to {self.path}: {error.strerror or error}") from error
        return list(files)


def render_files(report: Report) -> dict[str, bytes]:
    """Every file of the report, by name."""
    # matplotlib and jinja2 take most of a second to import, which runs without a report should not pay.
    from vdla.report.chrome import chrome_trace
    from vdla.report.page import page
    from vdla.report.pictures import roofline, timeline

    document = report.document
    files = {DOCUMENT: (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()}
    roof = line = None
    if report.profile.trace is not None:
        roof, line = roofline(document), timeline(document, report.profile.trace)
        files["roofline.png"] = roof
        files["timeline.png"] = line
        files["trace.json"] = chrome_trace(report).encode()
    files["index.html"] = page(document, roof, line).encode()
    return files


def read_document(path: Path, name: str = DOCUMENT, schema: str = SCHEMA) -> dict[str, Any]:
    """The document of a report folder (or the file itself): by default report.json.

    Raises:
        ReportError: when there is none, or it is of another schema.
    """
    place = path / name if path.is_dir() else path
    try:
        document = json.loads(place.read_text(encoding="utf-8"))
    except OSError as error:
        raise ReportError(f"cannot read {place}: {error.strerror or error}") from error
    except ValueError as error:
        raise ReportError(f"{place} is not JSON: {error}") from error
    found = document.get("schema") if isinstance(document, dict) else None
    if found != schema:
        raise ReportError(f"{place}: schema {found!r} is not '{schema}'")
    return document
