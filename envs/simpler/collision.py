"""Collision meshes split as SAPIEN 2 did: one convex piece per connected part, where SAPIEN 3 takes one per object."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from envs.simpler.assets import blob_id, cache_folder
from episodes.files import write_atomic


def split(path: Path) -> Path:
    """The file itself where every object in it is connected, else a copy in the cache with one object per part.

    Matters for the spoon, whose four pieces are one object in its file: as a single hull it is twice as heavy and lies
    on another side.
    """
    content = path.read_bytes()
    vertices: list[str] = []
    faces: list[list[int]] = []
    objects: list[int] = []  # of every face
    count = -1
    for line in content.decode().splitlines():
        word, _, rest = line.partition(" ")
        if word == "v":
            vertices.append(" ".join(rest.split()[:3]))
        elif word in ("o", "g"):
            count += 1
        elif word == "f":
            corners = [int(corner.split("/")[0]) for corner in rest.split()]
            faces.append([c - 1 if c > 0 else len(vertices) + c for c in corners])
            objects.append(max(count, 0))
    parts = _parts(vertices, faces)
    if len(set(zip(objects, parts))) == len(set(objects)):
        return path
    place = cache_folder() / "split" / f"{blob_id(content)}.obj"
    if not place.is_file():
        lines = []
        start = 0
        for part in sorted(set(parts)):
            own = [face for face, p in zip(faces, parts) if p == part]
            used = sorted({corner for face in own for corner in face})
            index = {corner: start + i + 1 for i, corner in enumerate(used)}
            lines.append(f"o part_{part}")
            lines += [f"v {vertices[corner]}" for corner in used]
            lines += ["f " + " ".join(str(index[corner]) for corner in face) for face in own]
            start += len(used)
        write_atomic(place, "\n".join(lines) + "\n")
    return place


def _parts(vertices: list[str], faces: list[list[int]]) -> list[int]:
    """The connected part of every face; corners at the same place are the same."""
    places = {place: i for i, place in enumerate(dict.fromkeys(vertices))}
    ids = np.array([places[vertex] for vertex in vertices])
    edges = np.array([(ids[face[0]], ids[corner]) for face in faces for corner in face[1:]]).T
    graph = coo_matrix((np.ones(edges.shape[1]), (edges[0], edges[1])), shape=(len(places), len(places)))
    labels = connected_components(graph, directed=False)[1]
    return [int(labels[ids[face[0]]]) for face in faces]
