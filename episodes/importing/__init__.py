"""Datasets of other programs, read into an EpisodeStore: LeRobotDataset v2.1 and v3.0, and robomimic's HDF5 files.

One episode is in memory at a time. What a source does not say is stored as the types' unknown value, or as the neutral
one where a type has none, and named in `extra["unknown"]` of every episode; docs/data.md lists both.
"""

from episodes.importing.formats import FORMATS, import_dataset
from episodes.importing.known import Known

__all__ = ["FORMATS", "Known", "import_dataset"]
