"""Every way of writing weights to disk loads to the same bits."""

from pathlib import Path

import pytest
import torch

from sharpaudit.checkpoints import load, zoo
from tests.checkpoints.dialects import DIALECTS

NETWORKS = ("digits_cnn", "resnet20", pytest.param("vit_small", marks=pytest.mark.slow))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", DIALECTS)
def test_loads_to_the_same_bits(name: str, network: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = zoo.build(network).eval()
    for key, value in module.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.5)
        elif key.endswith("num_batches_tracked"):
            value.fill_(100)
    dialect = DIALECTS[name]
    loaded = load(dialect.write(module, tmp_path))
    assert loaded.subject.architecture == f"zoo:{network}"
    assert loaded.subject.clean_load == dialect.clean
    expected = dialect.expect(module.state_dict())
    state = loaded.module.state_dict()
    assert state.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(state[key], value), key
    assert not loaded.module.training
    assert all(parameter.dtype == torch.float32 and parameter.is_leaf for parameter in loaded.module.parameters())
