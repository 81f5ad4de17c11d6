"""The designs that everyone meets first, by name: means of features into a small network."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from ser_core.emotions import EMOTIONS_7, EMOTIONS_8
from ser_core.lab import classic_features, classic_networks
from ser_core.lab.pooling import Trimmed

Values = NDArray[np.float32]

SEXES = ("F", "M")
"""In the order of the classes of a network that is fitted to sex and emotion."""


@dataclass(frozen=True)
class ClassicSchedule:
    """How a classic design is fitted: categorical cross-entropy, Adam, every clip once an epoch."""

    epochs: int = 80
    batch: int = 64
    learning_rate: float = 1e-3
    patience: int = 30
    """Epochs without a better UAR on the validation speakers after which it ends. Few speakers make
    a noisy UAR, and batch normalisation needs some hundred steps before its averages mean anything:
    with a patience of 10 these designs ended before they had begun to learn."""


@dataclass(frozen=True)
class Classic:
    """A named design: values of a window into a network."""

    name: str
    values: str
    """The function of `ser_core.lab.classic_features` that computes them."""
    count: int
    """How many they are."""
    network: str
    """The function of `ser_core.lab.classic_networks` that makes it."""
    emotions: tuple[str, ...] = EMOTIONS_8
    sampling_rate: int = 22_050
    """Hz; librosa's own unless the design says otherwise."""
    window: float = 2.5
    hop: float = 1.25
    options: dict[str, Any] = field(default_factory=dict)
    """Arguments of the network."""
    standardised: bool = True
    """Each value has mean 0 and deviation 1 over the training clips."""
    by_sex: bool = False
    """It is fitted to sex and emotion together; its answer is summed over the sexes."""
    mlp: dict[str, Any] | None = None
    """Arguments of scikit-learn's `MLPClassifier`, if that fits the network."""
    schedule: ClassicSchedule = ClassicSchedule()
    augmentation: tuple[str, ...] = ()
    """Of `ser_core.lab.augmentations`; each adds a changed copy of every clip to train on."""

    @property
    def samples(self) -> int:
        """Samples of one window."""
        return round(self.window * self.sampling_rate)

    @property
    def classes(self) -> int:
        """Classes that the network is fitted to."""
        return len(self.emotions) * (len(SEXES) if self.by_sex else 1)

    def front(self) -> keras.Model:
        """Waveform `(batch, samples)` and length `(batch, 1)` in samples -> values `(batch, k)`."""
        waveform = keras.Input((self.samples,), name="waveform")
        length = keras.Input((1,), dtype="int32", name="length")
        compute: Callable[..., Any] = getattr(classic_features, self.values)
        values = compute(Trimmed()([waveform, length]), length, self.sampling_rate)
        return keras.Model([waveform, length], values, name=self.values)

    def build(self) -> keras.Model:
        """The network: values `(batch, k)` -> logits `(batch, classes)`."""
        make: Callable[..., keras.Model] = getattr(classic_networks, self.network)
        return make(self.count, self.classes, **self.options)

    def whole(self, network: keras.Model, mean: Values, scale: Values) -> keras.Model:
        """Waveform and length -> logits of the emotions; what the network hears is standardised."""
        front = self.front()
        values = classic_features.Standardised(mean.tolist(), scale.tolist())(front.output)
        logits = network(values)
        if self.by_sex:
            logits = classic_features.SummedOverSexes()(logits)
        return keras.Model(front.inputs, {"logits": logits})


NIMBLE_CNN = Classic(
    "nimble-cnn", "mfcc_contour", 217, "nimble_cnn", EMOTIONS_7, 44_100, standardised=False
)
EDGE_CNN = Classic("edge-cnn", "edge_values", 162, "edge_cnn", EMOTIONS_7)
ANN_193 = Classic(
    "ann-193",
    "values_193",
    193,
    "dense",
    window=3.0,
    hop=1.5,
    standardised=False,
    schedule=ClassicSchedule(epochs=100, batch=32, patience=20),
)
MLP_193 = replace(
    ANN_193,
    name="mlp-193",
    standardised=True,
    options={"hidden": (300, 50, 20, 10)},
    mlp={"alpha": 0.01, "learning_rate": "adaptive"},
    schedule=ClassicSchedule(epochs=500, batch=256),
)
MFCC_CNN1D = replace(
    EDGE_CNN,
    name="mfcc-cnn1d",
    values="mfcc_means",
    count=40,
    emotions=EMOTIONS_8,
    sampling_rate=44_100,
    options={"pools": (5, 8)},
    by_sex=True,
)

CLASSICS = {
    classic.name: classic
    for classic in (
        NIMBLE_CNN,
        EDGE_CNN,
        ANN_193,
        MLP_193,
        MFCC_CNN1D,
        replace(MFCC_CNN1D, name="mfcc-cnn1d-8", by_sex=False),
    )
}
"""Every classic design by name."""
