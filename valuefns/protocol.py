"""What every value function promises, whatever is inside it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence, Sized
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from episodes.progress import progress
from episodes.store import Episodes
from episodes.types import Episode, Observation
from networks.pretrained import Pretrained
from networks.settings import LatentsConfig


class ValueStream(Protocol):
    """A value read online for n environments, causal only: what rewards and shaping accept."""

    def reset(self, mask: np.ndarray, instructions: Sequence[str]) -> None:
        """Begin new episodes in the slots where mask (n,) is true."""
        ...

    def step(self, observations: Sequence[Observation | None]) -> np.ndarray:
        """Return the value of each slot's newest observation, float32 (n,).

        A slot given None is not asked: it does not advance, and its entry is NaN.
        """
        ...


class ValueFunction(Pretrained, ABC):
    """Scores every frame of an episode; higher is better.

    scale: "viva" (V = 1 - G/2 in (0, 1], success above 0.5) - rewards and exact returns of the same scale go with it
    in an advantage. history: frames it looks back on. fps: rate it reads at (None: the control rate).
    reads_proprio: whether it sees the state, too.
    """

    settings: ClassVar[type[Any] | None] = None  # dataclass of its settings; None: it has none
    name: str
    scale: str = "viva"
    history: int = 1
    fps: float | None = None
    reads_proprio: bool = False
    content: str = ""  # SHA-256 of what it is made of, where that lies elsewhere (a server says it)

    def __repr__(self) -> str:
        reads = f"{self.history} frame{'s' if self.history > 1 else ''}"
        reads += f" at {self.fps:g} a second" if self.fps else ""
        reads += " and proprioception" if self.reads_proprio else ""
        return f"{type(self).__name__}({self.name}, scale {self.scale}, reads {reads}{self._told()})"

    def _told(self) -> str:
        """What else `repr` says of it."""
        return ""

    @classmethod
    def make(cls, config: Any, latents: LatentsConfig, seed: int = 0, device: str = "cpu") -> Self:
        """Build the untrained value of `config`, an instance of `settings`; `latents` says what makes latent frames."""
        return cls(config) if cls.settings is not None else cls()  # type: ignore[call-arg]

    @abstractmethod
    def fit(self, store: Episodes, folder: Path | None = None) -> ValueFunction:
        """Learn from the episodes of `store`; checkpoints and metrics go to `folder`."""

    @abstractmethod
    def score(self, episode: Episode, causal: bool = False) -> np.ndarray:
        """Return the value of each frame, float32 (T + 1,); the last entry is the final observation's."""

    def score_all(self, episodes: Iterable[Episode], causal: bool = False) -> list[np.ndarray]:
        """Return the values of several episodes, each float32 (T + 1,); a value that gains by it asks together."""
        values = []
        with progress("scoring", len(episodes) if isinstance(episodes, Sized) else 0) as bar:
            for episode in episodes:
                values.append(self.score(episode, causal))
                bar.advance()
        return values

    def stream(self, n: int) -> ValueStream:
        """Return a causal reader for n environments; a value that knows the episode's outcome has none."""
        raise ValueError(f"value {self.name!r} needs a finished episode, so it cannot be read online; use viva")

    @classmethod
    def planned(cls, config: Any, latents: LatentsConfig, views: int, size: int) -> Any:
        """What the planner needs to size its training (`networks.planned.Planned`); None: nothing large to train."""
        return None

    def networks(self) -> dict[str, Any]:
        """Its networks by name: what is frozen where it is only read, and what tells one checkpoint from another."""
        return {name: part for name, part in vars(self).items() if hasattr(part, "state_dict")}

    def save(self, folder: Path) -> None:
        """Write everything `load_value` needs to `folder`; nothing for a value without parameters."""
