"""The classic designs by name: exactly as large as they are known to be."""

import numpy as np
import pytest

from ser_core.emotions import EMOTIONS_7, EMOTIONS_8
from ser_core.lab.classics import CLASSICS
from ser_core.lab.presets import PRESETS, preset

PARAMETERS = {
    "nimble-cnn": 453_895,
    "edge-cnn": 1_283_591,
    "ann-193": 193 * 120 + 120 * 100 + 100 * 80 + 80 * 50 + 50 * 30 + 30 * 20 + 20 * 8 + 408,
    "mlp-193": 193 * 300 + 300 * 50 + 50 * 20 + 20 * 10 + 10 * 8 + 388,
    "mfcc-cnn1d": 1_283_728,
    "mfcc-cnn1d-8": 1_283_728 - 8 * 65,
}


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_a_classic_has_exactly_its_parameters(name: str, count: int) -> None:
    classic = CLASSICS[name]
    network = classic.build()
    values = classic.count
    whole = classic.whole(network, np.zeros(values, np.float32), np.ones(values, np.float32))
    assert whole.count_params() == network.count_params() == count
    assert whole.output["logits"].shape == (None, len(classic.emotions))
    untrained = sum(int(np.prod(weight.shape)) for weight in network.non_trainable_weights)
    # Mean and variance of two batch normalisations.
    assert untrained == (2 * (256 + 128) if classic.network == "edge_cnn" else 0)


def test_each_hears_what_it_was_made_for() -> None:
    assert {name: (c.sampling_rate, c.window) for name, c in CLASSICS.items()} == {
        "nimble-cnn": (44_100, 2.5),
        "edge-cnn": (22_050, 2.5),
        "ann-193": (22_050, 3.0),
        "mlp-193": (22_050, 3.0),
        "mfcc-cnn1d": (44_100, 2.5),
        "mfcc-cnn1d-8": (44_100, 2.5),
    }
    assert CLASSICS["nimble-cnn"].emotions == CLASSICS["edge-cnn"].emotions == EMOTIONS_7
    assert CLASSICS["ann-193"].emotions == CLASSICS["mfcc-cnn1d"].emotions == EMOTIONS_8
    assert CLASSICS["mfcc-cnn1d"].classes == 16


def test_every_design_is_a_preset() -> None:
    assert set(PARAMETERS) | {"logmel-cnn2d", "crnn"} <= set(PRESETS)
    assert all(preset(name) is CLASSICS[name] for name in PARAMETERS)
    assert PRESETS["logmel-cnn2d"].build().count_params() == 101_976
    assert PRESETS["crnn"].build().count_params() == 154_904
