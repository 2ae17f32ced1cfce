"""Reports: report.json follows its schema, files are complete, places are checked first."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from rich.console import Console

import vdla.report
from hw.config import Config
from runtime.executor import SimName
from runtime.profile import InstructionTrace
from tests import handmade
from vdla import Report, simulate
from vdla.errors import ReportError
from vdla.report import ReportFolder, compare_tables, print_report, read_document
from vdla.report.chrome import chrome_trace
from vdla.report.lanes import lane, occupancy

SCHEMA = json.loads((Path(vdla.report.__file__).parent / "schema.json").read_text())


def report(sim: SimName = "cycle", config: Config | None = None) -> Report:
    return simulate(handmade.artifact(), handmade.example_input(), sim=sim, config=config)


def printed(*documents: dict[str, object]) -> str:
    console = Console(width=160, record=True, file=None, quiet=False, force_terminal=False)
    with console.capture() as capture:
        if len(documents) == 1:
            print_report(documents[0], console)
        else:
            compare_tables(documents[0], documents[1], ("a", "b"), console)
    return capture.get()


@pytest.mark.parametrize("sim", ["functional", "cycle"])
def test_document_follows_the_schema(sim: SimName) -> None:
    jsonschema.validate(report(sim).document, SCHEMA)


def test_document_says_what_the_run_gave() -> None:
    document = report().document
    y = handmade.expected(handmade.example_input())
    assert document["outputs"] == {
        "y": {"shape": [3, 4], "dtype": "float32", "sha256": hashlib.sha256(y.tobytes()).hexdigest()}
    }
    assert document["config"]["fingerprint"] == Config.load("tiny").fingerprint
    totals = document["totals"]
    assert totals["macs"] == 48 and totals["mac_floor_cycles"] == 3
    assert totals["utilization"] == 48 / (totals["cycles"] * 16)
    assert totals["cycles"] == sum(layer["cycles"] or 0 for layer in document["layers"])
    assert totals["cycles"] == 3 + sum(totals["stalls"].values())
    assert totals["time_ms"] == pytest.approx(totals["cycles"] / 100e3)
    assert document["layers"][2]["reason"] == "results leave the integers on the CPU"
    assert document["compile"] == {
        "wall_s": 0.25,
        "passes": [{"name": "import", "wall_s": 0.05}, {"name": "lower", "wall_s": 0.2}],
    }


def test_table_shows_layers_totals_and_reasons() -> None:
    text = printed(report().document)
    for part in ("fc", "relu", "dequantize", "utilization", "results leave the integers", "where the cycles went"):
        assert part in text, part
    assert f"{report().cycles:,} cycles" in text


def test_comparison_names_what_changed() -> None:
    slow = Config.load("tiny").override(["memory.read_latency=60"])
    text = printed(report().document, report(config=slow).document)
    assert "memory.read_latency 12 -> 60" in text
    assert "outputs: the same bits" in text


def test_folder_holds_everything(tmp_path: Path) -> None:
    with ReportFolder(tmp_path / "out") as folder:
        names = folder.write(report())
    assert sorted(names) == ["index.html", "report.json", "roofline.png", "timeline.png", "trace.json"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(names)
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]
    assert (tmp_path / "out" / "timeline.png").read_bytes()[:4] == b"\x89PNG"
    jsonschema.validate(read_document(tmp_path / "out"), SCHEMA)
    html = (tmp_path / "out" / "index.html").read_text()
    assert html.count("data:image/png;base64,") == 2
    assert "http://" not in html and "https://" not in html


def test_functional_folder_has_no_timeline(tmp_path: Path) -> None:
    with ReportFolder(tmp_path / "out") as folder:
        assert sorted(folder.write(report("functional"))) == ["index.html", "report.json"]


def test_second_report_replaces_the_first(tmp_path: Path) -> None:
    for sim in ("cycle", "functional"):
        with ReportFolder(tmp_path / "out") as folder:
            folder.write(report(sim))
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["index.html", "report.json"]


def test_failed_run_leaves_the_old_report(tmp_path: Path) -> None:
    with ReportFolder(tmp_path / "out") as folder:
        folder.write(report("functional"))
    with pytest.raises(ZeroDivisionError), ReportFolder(tmp_path / "out"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]
    assert read_document(tmp_path / "out")["sim"] == "functional"


def test_chrome_trace_events_of_a_track_do_not_overlap() -> None:
    events = json.loads(chrome_trace(report()))["traceEvents"]
    names = {e["tid"]: e["args"]["name"] for e in events if e["ph"] == "M" and e["name"] == "thread_name"}
    assert names == {0: "layers", 1: "load", 2: "compute", 3: "store"}
    for track in names:
        spans = [
            (e["args"]["start_cycle"], e["args"]["end_cycle"]) for e in events if e["ph"] == "X" and e["tid"] == track
        ]
        assert spans and all(a[1] <= b[0] for a, b in zip(spans, spans[1:], strict=False))


def test_lane_gives_shared_time_to_the_earlier_instruction() -> None:
    trace = InstructionTrace(
        unit=np.array([0, 0, 1, 0]),
        start=np.array([2, 4, 0, 5]),
        end=np.array([6, 9, 50, 9]),
        layer=np.array([0, 1, 1, 2]),
    )
    start, end, layer = lane(trace, 0)
    assert (start.tolist(), end.tolist(), layer.tolist()) == ([2, 6], [6, 9], [0, 1])


@pytest.mark.parametrize("seed", range(20))
def test_occupancy_is_the_covered_share(seed: int) -> None:
    rng = np.random.default_rng(seed)
    busy = rng.random(200) < 0.5
    changes = np.flatnonzero(np.diff(np.concatenate(([0], busy.astype(int), [0]))))
    edges = np.unique(np.concatenate(([0, 200], rng.integers(0, 200, 15))))
    shares = occupancy(changes[0::2], changes[1::2], edges)
    direct = [busy[a:b].mean() for a, b in zip(edges, edges[1:], strict=False)]
    assert np.allclose(shares, direct)


def test_place_that_holds_something_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ReportError, match="holds something other than a report"):
        ReportFolder(tmp_path)


def test_place_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(ReportError, match="is a file"):
        ReportFolder(tmp_path / "out")


def test_place_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match="cannot write a report to"):
        ReportFolder(tmp_path / "file" / "out")


def test_reading_what_is_not_a_report(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="cannot read"):
        read_document(tmp_path)
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(ReportError, match="is not JSON"):
        read_document(tmp_path)
    (tmp_path / "report.json").write_text('{"schema": "other/1"}')
    with pytest.raises(ReportError, match="schema 'other/1' is not 'vdla.report/1'"):
        read_document(tmp_path)
