"""The timeline as a Chrome trace (chrome://tracing, ui.perfetto.dev): one track a unit, one for the layers."""

from __future__ import annotations

import json

from vdla.report.lanes import UNITS, lane, layer_spans
from vdla.report.model import Report


def chrome_trace(report: Report) -> str:
    """JSON text. Times are microseconds at the config's clock; the cycles are in each event's arguments."""
    trace = report.profile.trace
    events: list[dict[str, object]] = [_named("process_name", 0, f"VDLA {report.config.name}")]
    if trace is not None:
        layers = report.profile.layers
        per_us = report.config.clock_mhz
        events.append(_named("thread_name", 0, "layers"))
        last_end = 0
        for layer, span in zip(layers, layer_spans(trace, len(layers)), strict=True):
            if span is not None:
                # Successive layers overlap in the pipeline; a track of complete events may not.
                start, last_end = max(span[0], last_end), max(span[1], last_end)
                events.append(_event(f"{layer.name} ({layer.op})", 0, start, last_end, per_us))
        for unit, unit_name in enumerate(UNITS):
            events.append(_named("thread_name", unit + 1, unit_name))
            for start, end, index in zip(*(column.tolist() for column in lane(trace, unit)), strict=True):
                events.append(_event(layers[index].name, unit + 1, start, end, per_us))
    return json.dumps({"displayTimeUnit": "ns", "traceEvents": events}, separators=(",", ":"))


def _named(kind: str, track: int, name: str) -> dict[str, object]:
    return {"name": kind, "ph": "M", "pid": 0, "tid": track, "args": {"name": name}}


def _event(name: str, track: int, start: int, end: int, per_us: float) -> dict[str, object]:
    return {
        "name": name,
        "ph": "X",
        "pid": 0,
        "tid": track,
        "ts": start / per_us,
        "dur": (end - start) / per_us,
        "args": {"start_cycle": start, "end_cycle": end},
    }
