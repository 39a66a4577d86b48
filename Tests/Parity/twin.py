"""An igdm model as a PyTorch network."""

from __future__ import annotations

import igdm
import numpy as np
import torch
from reference.networks import Classifier, network


def twin(model: igdm.Model) -> Classifier:
    """The reference's network with the model's weights and normalisation, in training mode."""
    info = model.info
    mean, std = (None if values is None else torch.tensor(np.asarray(values)) for values in (info.mean, info.std))
    made = network(info.architecture, info.input_shape[0], info.classes, info.width, mean, std)
    counters = {name: value for name, value in made.state_dict().items() if name.endswith("num_batches_tracked")}
    weights = {name: torch.from_numpy(np.array(model.parameters[name])) for name in model.parameters.shapes}
    made.load_state_dict(weights | counters)
    return made
