"""Read a run folder for its report: every file optional, a malformed one a ValueError of one line that names it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from episodes.files import refuse_special
from episodes.types import SEGMENTS

Columns = dict[str, npt.NDArray[Any]]

EPISODE_COLUMNS = {
    "arm": str, "method": str, "iteration": int, "seed": int, "success": bool, "steps": int, "seconds": float,
}  # fmt: skip
FRAME_COLUMNS = {
    "episode": int, "frame": int, "variant": str, "success": bool, "segment": str, "value": float, "progress": float,
    "oracle": float, "advantage": float, "indicator": int, "weight": float,
}  # fmt: skip
SUMMARY_ROW = {"method": str, "success": float, "low": float, "high": float, "per_hour": float, "n": int}
VALUE_ROW = {"name": str, "what": str, "mean": float, "low": float, "high": float, "n": int}
LABEL_ROW = {
    "labels": str, "by": str, "group": str, "steps": int, "kept": float, "weight": float, "effective": float,
    "starved": bool,
}  # fmt: skip
VIDEO_ROW = {"file": str, "title": str, "caption": str}


@dataclass(frozen=True)
class RunFiles:
    """What a run folder holds; None (or an empty list of videos) where the file is not there."""

    folder: Path
    run: dict[str, Any] | None
    config: str | None
    environment: dict[str, Any] | None
    summary: list[dict[str, Any]] | None
    episodes: Columns | None
    frames: Columns | None
    value_metrics: dict[str, Any] | None
    label_report: list[dict[str, Any]] | None
    sight: dict[str, Any] | None
    metrics: list[dict[str, Any]] | None
    videos: list[dict[str, str]]


def read_run(folder: Path) -> RunFiles:
    """Read the files of `folder`; ValueError where one is malformed or `folder` is no folder."""
    if not folder.is_dir():
        raise ValueError(f"run folder {folder} is not a folder; give the path of one run, e.g. runs/recap_sim/STAMP")

    def optional(name: str, read: Callable[[Path], Any]) -> Any:
        return read(folder / name) if (folder / name).exists() else None

    run = optional("run.json", _object)
    if run is not None:
        stages = run.get("stages", {})
        if not isinstance(stages, dict) or not all(_is_number(v) for v in stages.values()):
            raise _bad(folder / "run.json", f"stages is {stages!r}, expected {{name: seconds}}")
    environment = optional("environment.json", _object)
    if environment is not None and not isinstance(environment.get("packages", {}), dict):
        raise _bad(folder / "environment.json", "packages is not an object {name: version}")
    value_metrics = optional("value_metrics.json", _object)
    if value_metrics is not None:
        value_metrics["rows"] = _rows(folder / "value_metrics.json", value_metrics.get("rows"), VALUE_ROW)
    labels = optional("label_report.json", _object)
    sight = optional("sight.json", _object)
    if sight is not None:
        sight["rows"] = _rows(folder / "sight.json", sight.get("rows"), VALUE_ROW)
    summary = optional("summary.json", _object)
    frames = optional("frames.parquet", lambda p: _table(p, FRAME_COLUMNS))
    if frames is not None:
        for label in sorted(set(frames["segment"]) - set(SEGMENTS)):
            raise _bad(folder / "frames.parquet", f"segment is {label!r}, expected one of {', '.join(SEGMENTS)}")
    return RunFiles(
        folder=folder,
        run=run,
        config=optional("config.yaml", _text),
        environment=environment,
        summary=None if summary is None else _rows(folder / "summary.json", summary.get("rows"), SUMMARY_ROW),
        episodes=optional("episodes.parquet", lambda p: _table(p, EPISODE_COLUMNS)),
        frames=frames,
        value_metrics=value_metrics,
        label_report=None if labels is None else _rows(folder / "label_report.json", labels.get("rows"), LABEL_ROW),
        sight=sight,
        metrics=optional("metrics.jsonl", _lines),
        videos=listed_videos(folder / "videos"),
    )


def _bad(path: Path, problem: str) -> ValueError:
    problem = " ".join(problem.split())[:300]  # parser messages may span lines
    return ValueError(f"{path}: {problem}; fix or remove the file, the report is written without it")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _text(path: Path) -> str:
    try:
        refuse_special(path)
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise _bad(path, f"not readable as text ({error})") from error


def _json(path: Path) -> Any:
    try:
        return json.loads(_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise _bad(path, f"not JSON ({error})") from error


def _object(path: Path) -> dict[str, Any]:
    value = _json(path)
    if not isinstance(value, dict):
        raise _bad(path, f"holds a {type(value).__name__}, expected an object")
    return value


def _rows(path: Path, rows: Any, fields: Mapping[str, type]) -> list[dict[str, Any]]:
    """Check a list of objects; a number may be null (not measured), which becomes NaN."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise _bad(path, "rows is not a list of objects")
    for i, row in enumerate(rows):
        for name, kind in fields.items():
            if name not in row:
                raise _bad(path, f"row {i} has no {name!r}")
            if kind is str and not isinstance(row[name], str):
                raise _bad(path, f"row {i}: {name} is {row[name]!r}, expected text")
            if kind is bool and not isinstance(row[name], bool):
                raise _bad(path, f"row {i}: {name} is {row[name]!r}, expected true or false")
            if kind not in (str, bool) and row[name] is not None and not _is_number(row[name]):
                raise _bad(path, f"row {i}: {name} is {row[name]!r}, expected a number")
    return [{k: float("nan") if v is None and fields.get(k, str) is not str else v for k, v in r.items()} for r in rows]


def _table(path: Path, columns: dict[str, type]) -> Columns:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        refuse_special(path)
        table = pq.read_table(path)
        missing = [name for name in columns if name not in table.column_names]
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _bad(path, f"not readable as Parquet ({error})") from error
    if missing:
        raise _bad(path, f"column {', '.join(missing)} is missing")
    out: Columns = {}
    for name, kind in columns.items():
        texts = kind is str
        try:
            values = table[name].to_pylist() if texts else table[name].to_numpy()
            out[name] = np.array(["" if v is None else v for v in values], object) if texts else values.astype(kind)
        except (TypeError, ValueError) as error:
            raise _bad(path, f"column {name} does not hold {kind.__name__} values ({error})") from error
        if kind is str and not all(isinstance(v, str) for v in out[name]):
            raise _bad(path, f"column {name} does not hold text")
    return out


def _lines(path: Path) -> list[dict[str, Any]]:
    text = _text(path)
    lines = text.split("\n")
    out = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            if number == len(lines):
                break  # a run killed while writing leaves a last line without its end
            raise _bad(path, f"line {number} is not JSON ({error})") from error
        if not isinstance(row, dict):
            raise _bad(path, f"line {number} is not an object")
        out.append(row)
    return out


def listed_pictures(folder: Path) -> list[dict[str, str]]:
    """Rows of `folder`/index.json, each with the name of a file in the folder, its title and caption."""
    index = folder / "index.json"
    rows = _rows(index, _json(index), VIDEO_ROW) if index.exists() else []
    for row in rows:
        if Path(row["file"]).name != row["file"]:
            raise _bad(index, f"file is {row['file']!r}, expected the name of a file in {folder.name}/")
    return rows


def listed_videos(folder: Path) -> list[dict[str, str]]:
    """Rows of videos/index.json (also where their file is gone), then every other .mp4 under its own name."""
    rows = listed_pictures(folder)
    listed = {row["file"] for row in rows}
    found = sorted(path.name for path in folder.glob("*.mp4")) if folder.is_dir() else []
    return rows + [{"file": name, "title": name, "caption": ""} for name in found if name not in listed]
