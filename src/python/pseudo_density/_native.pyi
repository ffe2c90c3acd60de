from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, Optional, Union

import numpy as np
import numpy.typing as npt

_Path = Union[str, PathLike[str]]
_Images = Union[_Path, Sequence[Any], npt.NDArray[np.uint8]]
_Rows = Union[Features, Reference, npt.ArrayLike]
_Progress = Optional[Callable[[str, int, int], object]]
_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]

__version__: str

def run_command(arguments: Sequence[str], program: Sequence[str]) -> int: ...
def embed(
    images: _Images,
    *,
    extractor: Optional[str] = None,
    weights: Optional[_Path] = None,
    normalize: Optional[bool] = None,
    batch: Optional[int] = None,
    strict: bool = False,
    device: str = "auto",
    progress: _Progress = None,
) -> Features: ...
def score(
    features: _Rows,
    k: int = 10,
    *,
    paths: Optional[Sequence[str]] = None,
    exponent: float = 1.0,
    duplicates: str = "keep",
    index: str = "auto",
    seed: int = 0,
    device: str = "auto",
    progress: _Progress = None,
) -> Scores: ...
def weights(
    real: _Rows,
    generated: _Rows,
    rule: str = "ratio:0",
    budget: Optional[float] = None,
    *,
    threshold: Optional[Union[float, str]] = None,
    weight: Optional[float] = None,
    dimension: Optional[float] = None,
    k: Optional[int] = None,
    seed: int = 0,
    device: str = "auto",
    progress: _Progress = None,
) -> Weights: ...
def evaluate(
    real: _Rows,
    generated: Union[_Rows, Mapping[str, _Rows]],
    metrics: Optional[Sequence[str]] = None,
    *,
    k: int = 3,
    k_density: int = 5,
    boundary: str = "excluded",
    kid_subsets: int = 100,
    kid_subset_size: int = 1000,
    bootstrap: Optional[int] = None,
    spread: Optional[int] = None,
    self_check: bool = False,
    per_sample: bool = False,
    seed: int = 0,
    device: str = "auto",
    progress: _Progress = None,
) -> Evaluation: ...
def evaluate_images(
    real: _Images,
    generated: Union[_Images, Mapping[str, _Images]],
    *,
    spaces: Optional[Sequence[str]] = None,
    preset: Optional[str] = None,
    weights: Optional[Mapping[str, _Path]] = None,
    metrics: Optional[Sequence[str]] = None,
    bootstrap: Optional[int] = None,
    spread: Optional[int] = None,
    self_check: bool = False,
    batch: Optional[int] = None,
    strict: bool = False,
    seed: int = 0,
    device: str = "auto",
    progress: _Progress = None,
) -> SpaceEvaluation: ...
def select(
    pool: _Rows,
    n: int,
    *,
    reference: Optional[Reference] = None,
    quality: Optional[str] = None,
    set: str = "facility",
    diversity: Optional[float] = None,
    distinct: Optional[float] = None,
    novel: Optional[float] = None,
    seed: int = 0,
    device: str = "auto",
    progress: _Progress = None,
) -> Selection: ...
def duplicates(
    images: _Images,
    against: Optional[_Images] = None,
    *,
    level: str = "edited",
    keep: str = "largest",
    extractor: Optional[str] = None,
    weights: Optional[_Path] = None,
    batch: Optional[int] = None,
    strict: bool = False,
    device: str = "auto",
    progress: _Progress = None,
) -> Table: ...
def latents(
    seeds: Union[int, str, Iterable[int]], dim: Union[int, Sequence[int]]
) -> npt.NDArray[np.float32]: ...

class Table:
    @property
    def columns(self) -> list[str]: ...
    def to_dict(self) -> dict[str, Any]: ...
    def to_pandas(self) -> Any: ...
    def to_arrow(self) -> Any: ...
    def save(self, path: _Path) -> None: ...
    def __len__(self) -> int: ...
    def __getitem__(self, name: str) -> Any: ...

class Features:
    @property
    def array(self) -> npt.NDArray[np.float32]: ...
    @property
    def paths(self) -> list[str]: ...
    @property
    def skipped(self) -> list[tuple[str, str]]: ...
    @property
    def extractor(self) -> Optional[str]: ...
    @property
    def shape(self) -> tuple[int, int]: ...
    def take(self, rows: Sequence[int]) -> Features: ...
    def save(self, path: _Path) -> None: ...
    def __len__(self) -> int: ...
    def __array__(self, dtype: Any = None, copy: Optional[bool] = None) -> npt.NDArray[Any]: ...

class Scores:
    @property
    def pseudo_density(self) -> _Floats: ...
    @property
    def percentile(self) -> _Floats: ...
    @property
    def mean_knn_distance(self) -> _Floats: ...
    @property
    def nearest(self) -> _Ints: ...
    @property
    def nearest_distance(self) -> _Floats: ...
    @property
    def copy_of(self) -> Optional[_Ints]: ...
    @property
    def paths(self) -> list[str]: ...
    @property
    def intrinsic_dimension(self) -> Optional[float]: ...
    def table(self) -> Table: ...
    def to_pandas(self) -> Any: ...
    def to_arrow(self) -> Any: ...
    def save(self, path: _Path) -> None: ...
    def __len__(self) -> int: ...

class Reference:
    @staticmethod
    def open(path: _Path, *, device: str = "auto") -> Reference: ...
    @staticmethod
    def create(
        path: _Path,
        images: Union[_Images, Features, npt.NDArray[np.float32]],
        *,
        extractor: Optional[str] = None,
        weights: Optional[_Path] = None,
        normalize: Optional[bool] = None,
        batch: Optional[int] = None,
        strict: bool = False,
        k: int = 10,
        exponent: float = 1.0,
        duplicates: str = "keep",
        index: str = "auto",
        seed: int = 0,
        predictor: bool = True,
        device: str = "auto",
        progress: _Progress = None,
    ) -> Reference: ...
    def score(
        self,
        images: Union[_Images, _Rows],
        *,
        weights: Optional[_Path] = None,
        batch: Optional[int] = None,
        strict: bool = False,
        device: str = "auto",
        progress: _Progress = None,
    ) -> Scores: ...
    def embed(
        self,
        images: _Images,
        *,
        weights: Optional[_Path] = None,
        batch: Optional[int] = None,
        strict: bool = False,
        device: str = "auto",
        progress: _Progress = None,
    ) -> Features: ...
    def density(self, features: _Rows) -> _Floats: ...
    def predictor(self, features: _Rows) -> _Floats: ...
    @property
    def path(self) -> PathLike[str]: ...
    @property
    def paths(self) -> list[str]: ...
    @property
    def array(self) -> npt.NDArray[np.float32]: ...
    @property
    def densities(self) -> _Floats: ...
    @property
    def intrinsic_dimension(self) -> Optional[float]: ...
    @property
    def extractor(self) -> str: ...
    def __len__(self) -> int: ...

class Weights:
    @property
    def log_weight(self) -> _Floats: ...
    @property
    def weight(self) -> _Floats: ...
    @property
    def acceptance(self) -> _Floats: ...
    @property
    def pseudo_density(self) -> _Floats: ...
    @property
    def effective_sample_size(self) -> float: ...
    def __len__(self) -> int: ...

class Evaluation:
    @property
    def table(self) -> Table: ...
    @property
    def samples(self) -> Optional[Table]: ...
    @property
    def warnings(self) -> list[str]: ...
    @property
    def values(self) -> dict[str, float]: ...
    def to_dict(self) -> dict[str, Any]: ...
    def to_pandas(self) -> Any: ...
    def to_arrow(self) -> Any: ...
    def __getitem__(self, metric: str) -> float: ...

class SpaceEvaluation:
    @property
    def spaces(self) -> list[str]: ...
    @property
    def table(self) -> Table: ...
    @property
    def warnings(self) -> list[str]: ...
    def to_dict(self) -> dict[str, Any]: ...
    def __getitem__(self, space: str) -> Evaluation: ...

class Selection:
    @property
    def rows(self) -> _Ints: ...
    @property
    def gains(self) -> _Floats: ...
    @property
    def quality(self) -> _Floats: ...
    @property
    def objective(self) -> float: ...
    @property
    def worth(self) -> float: ...
    def table(self) -> Table: ...
    def to_pandas(self) -> Any: ...
    def to_arrow(self) -> Any: ...
    def __len__(self) -> int: ...
