"""Training on a GPU is training on the CPU; runs where there is one."""

import numpy as np
import pytest
import torch

from spotify_engine.playlists.model.encoding import encode_tracks

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that PyTorch can use")
DEVICES = ["cpu", pytest.param("cuda", marks=cuda)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("loss", ["softmax", "bpr"])
def test_a_step_has_the_same_loss_and_gradients_on_every_device(world, loss, device, make_trainer):
    found = []
    for place in ("cpu", device):
        trainer = make_trainer(world, loss=loss)
        trainer.to(torch.device(place))
        sampled = trainer.sample(next(iter(trainer.steps(0))))
        assert sampled.candidates.device.type == trainer.device.type == place
        value = trainer.loss(sampled)
        value.backward()
        gradients = [
            p.grad.to_dense().cpu() for p in trainer.model.parameters() if p.grad is not None
        ]
        found.append((value.item(), gradients))
    (expected, theirs), (value, ours) = found
    assert value == pytest.approx(expected, rel=1e-4)
    for one, other in zip(theirs, ours, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_a_checkpoint_of_one_device_goes_on_on_another(world, tmp_path, device, make_trainer):
    trainer = make_trainer(world, epochs=2)
    trainer.to(torch.device(device))
    reports = []
    trainer.fit(reports.append)
    trainer.save(tmp_path)
    for place in ("cpu", device):
        again = make_trainer(world, epochs=3)
        again.to(torch.device(place))
        again.restore(tmp_path)
        assert again.validate() == pytest.approx(trainer.validate(), abs=0.05)
        again.fit(reports.append)
        assert again.history[-1]["epoch"] == 2


@pytest.mark.parametrize("device", DEVICES)
def test_tracks_are_encoded_alike(world, device, make_trainer):
    trainer = make_trainer(world)
    expected = encode_tracks(trainer.model, trainer.data)
    trainer.to(torch.device(device))
    found = encode_tracks(trainer.model, trainer.data)
    assert found.vectors.device.type == device
    np.testing.assert_allclose(found.vectors.cpu(), expected.vectors, rtol=1e-3, atol=1e-4)
