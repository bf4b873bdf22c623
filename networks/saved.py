"""Where a trained value or policy lies: in the folder named, in the run that is named, or in the newest run there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from episodes.files import one_line
from episodes.store_index import named
from networks.hub import Found, find_model, is_hub_id, place_of

CONFIG, WEIGHTS = "config.json", "model.safetensors"


def find_value(place: str | Path) -> Path:
    """The folder of the value at `place`: itself, its first fold, or the one kept by a run.

    Of cross-fitted values it is the first fold's, which has not seen the episodes of that fold.
    ValueError: no such folder, or what it lacks.
    """
    place = _folder(place, "value")
    for run in _runs(place):
        for inside in (run, run / "checkpoints" / "value"):
            for folder in (inside, *_numbered(inside, "fold-")):
                if (folder / CONFIG).exists():
                    return folder
    raise ValueError(
        one_line(
            f"value {place}: holds no learned value; name a folder with {CONFIG} and {WEIGHTS}, or a run that has "
            f"checkpoints/value/fold-0{_state(place)}"
        )
    )


def find_policy(place: str | Path, arm: str = "") -> Path:
    """The folder of the policy at `place`: itself, an arm's last iteration, or that of a run's `arm`.

    Without `arm` it is the one that solved most of the evaluation episodes (the first of equals).
    ValueError: no such folder, what it lacks, or an arm that the run does not have.
    """
    place = _folder(place, "policy")
    if (place / CONFIG).exists():
        return place
    for run in _runs(place):
        if own := _trained(run):
            return own
        arms = {path.name: found for path in sorted(run.glob("arms/*")) if (found := _trained(path))}
        if arm and arms and arm not in arms:
            raise ValueError(one_line(f"policy {run}: has no arm {arm!r}; choose from {', '.join(arms)}"))
        if arms:
            return arms[arm or _best(run, list(arms))]
    raise ValueError(
        one_line(
            f"policy {place}: holds no trained policy; name a folder with {CONFIG} and {WEIGHTS}, or a run that has "
            f"arms/METHOD/policy-0{_state(place)}"
        )
    )


def found_value(source: str | Path, what: str) -> Found:
    """The saved value at a place, with what it holds: a folder, a run, or owner/name[@revision] of the hub."""
    return _found(source, what, find_value)


def found_policy(source: str | Path, what: str) -> Found:
    """The same of a policy; of a run, the one that `find_policy` gives."""
    return _found(source, what, find_policy)


def _found(source: str | Path, what: str, find: Callable[[Path], Path]) -> Found:
    place, wanted = place_of(source)
    if not Path(place).is_dir():
        return find_model(source, what)
    inside = find(Path(place))
    return find_model(f"{inside}@{wanted}" if wanted else inside, what)


def _folder(place: str | Path, noun: str) -> Path:
    if isinstance(place, str) and not Path(place).is_dir() and is_hub_id(place):
        return find_model(place, noun).folder
    place = Path(place).expanduser()
    if not place.is_dir():
        kind = "a file" if place.is_file() else "not there"
        near = next((p for p in place.parents if p.is_dir()), Path("."))
        names = sorted(p.name for p in near.iterdir() if p.is_dir() and not p.name.startswith("."))[-4:]
        there = f"{near} has {', '.join(names)}" if names else f"{near} has no folders"
        raise ValueError(
            one_line(f"{noun} {place}: is {kind}; name a folder with {CONFIG} and {WEIGHTS}, or a run ({there})")
        )
    return place


def _runs(place: Path) -> list[Path]:
    """The place itself, or, of a folder of runs, every run, the newest first."""
    runs = sorted((path.parent for path in place.glob("*/run.json")), reverse=True)
    return runs or [place]


def _trained(folder: Path) -> Path | None:
    policies = [path for path in _numbered(folder, "policy-") if (path / WEIGHTS).is_file()]
    return policies[-1] if policies else None


def _numbered(folder: Path, prefix: str) -> list[Path]:
    """The folders prefix0, prefix1, ... in order of their numbers."""
    found = [path for path in folder.glob(f"{prefix}*") if path.name.removeprefix(prefix).isdigit()]
    return sorted(found, key=lambda path: int(path.name.removeprefix(prefix)))


def _best(run: Path, arms: list[str]) -> str:
    """The arm with the highest success in the run's summary; the first arm where there is none yet."""
    path = run / "summary.json"
    if not path.is_file():
        return arms[0]
    success = dict.fromkeys(arms, -1.0)
    with named(path, "name the arm, or restore the file"):
        for row in json.loads(path.read_bytes())["rows"]:
            name = str(row.get("arm", row["method"])).split("@")[0]
            if name in success and row["success"] is not None:
                success[name] = max(success[name], float(row["success"]))
    return max(arms, key=lambda name: success[name])


def _state(place: Path) -> str:
    """What to do about it where the place is a run."""
    return "; this run has not come that far, give its command again" if (place / "run.json").is_file() else ""
