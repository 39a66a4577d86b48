"""The reference itself: against published facts, PyTorch's own losses, finite differences and committed results."""

from __future__ import annotations

import cases
import numpy as np
import pytest
import torch
from reference import losses
from reference.compute import build, stored_names
from reference.networks import network
from report import KINKED_INPUT_GRADIENT
from torch.nn import functional


@pytest.mark.parametrize(
    ("architecture", "classes", "count"),
    [
        ("resnet18", 10, 11_173_962),
        ("wrn_28_10", 10, 36_479_194),
        ("wrn_34_10", 10, 46_160_474),
        ("resnet20", 10, 272_474),
        ("wrn_16_4", 10, 2_748_890),
        ("mobilenet_v2", 10, 2_296_922),
        ("mobilenet_v2", 100, 2_412_212),
        ("resnet50", 10, 23_520_842),
        ("preact_resnet18", 10, 11_171_146),
        ("wrn_34_20", 10, 184_531_674),
        ("dm_wrn_28_10", 10, 36_479_194),
        ("dm_preact_resnet18", 10, 12_548_426),
        ("imagenet_resnet50", 1000, 25_557_032),
    ],
)
def test_parameter_counts(architecture: str, classes: int, count: int) -> None:
    model = network(architecture, 3, classes)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


@pytest.mark.parametrize("case", cases.COMMITTED, ids=lambda case: case.id)
def test_committed_fixtures_are_current(case: cases.Case, references: cases.References) -> None:
    """`make_fixtures.py` run now would give the committed numbers (rounding aside), and no others."""
    committed, computed = references.committed(case), references.of(case)
    assert committed.keys() == computed.keys()
    for name, values in computed.items():
        if values.dtype.kind == "U":
            assert (values == committed[name]).all(), name
        elif name != "clearance":
            np.testing.assert_allclose(committed[name], values, rtol=1e-6, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("case", cases.COMMITTED + cases.LIVE_STEPS, ids=lambda case: case.id)
def test_cases_keep_clear_of_kinks(case: cases.Case, references: cases.References) -> None:
    assert references.is_smooth(case), references.of(case)["clearance"]


@pytest.mark.parametrize("case", cases.LIVE_MODELS, ids=lambda case: case.id)
def test_kinks_of_large_cases_matter_little(case: cases.ModelCase, references: cases.References) -> None:
    """All units near their kink, switched together, stay within the wider tolerance: or chance would decide."""
    wanted = references.of(case)
    assert wanted["allowance"].max() <= KINKED_INPUT_GRADIENT.tolerance * np.abs(wanted["gradient"]).max()


def test_no_case_takes_the_results_of_another() -> None:
    everything = cases.COMMITTED + cases.LIVE_MODELS + cases.LIVE_STEPS
    assert len({cases.References.key(case) for case in everything}) == len(everything)


def test_losses_agree_with_pytorch() -> None:
    generator = torch.Generator().manual_seed(5)
    target, model = 3 * torch.randn(2, 6, 10, generator=generator, dtype=torch.float64)
    labels = torch.arange(6)
    log_p, log_q = target.log_softmax(1), model.log_softmax(1)
    torch.testing.assert_close(losses.cross_entropy(model, labels), functional.cross_entropy(model, labels))
    divergence = functional.kl_div(log_q, log_p, log_target=True, reduction="batchmean")
    torch.testing.assert_close(losses.kl(target, model), divergence)
    torch.testing.assert_close(losses.l1(target, model), 10 * functional.l1_loss(model, target))
    torch.testing.assert_close(losses.l2(target, model), 10 * functional.mse_loss(model, target))


@pytest.mark.parametrize("case", cases.MODELS, ids=lambda case: case.id)
def test_input_gradients_agree_with_differences(case: cases.ModelCase, references: cases.References) -> None:
    """Along one direction, by a central difference short enough to meet no kink."""
    model = build(case.model, torch.float64)
    images = torch.tensor(case.images, dtype=torch.float64)
    cotangent = torch.tensor(case.cotangent, dtype=torch.float64)
    direction = torch.tensor(cases.uniform("direction", case.images.shape, -1, 1), dtype=torch.float64)
    reach = 1e-8
    with torch.no_grad():
        ahead, behind = ((model(images + s * reach * direction) * cotangent).sum() for s in (1, -1))
    slope = float((torch.tensor(references.of(case)["gradient"]) * direction).sum())
    assert float(ahead - behind) / (2 * reach) == pytest.approx(slope, rel=1e-4, abs=1e-5)


def test_stored_names_leave_out_only_the_batch_counters() -> None:
    model = network("resnet8", 1, 10, 4)
    left_out = set(model.state_dict()) - set(stored_names(model))
    assert left_out and all(name.endswith("num_batches_tracked") for name in left_out)
