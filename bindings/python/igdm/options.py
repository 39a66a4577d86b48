"""The options of training, in one table: what a method needs, what it means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypedDict


class TrainingOptions(TypedDict, total=False):
    """Keyword arguments of distill() and Trainer(). What is left out, or None, has the library's default.

    The names are those of igdm_trainer_options in igdm.h, with eps for epsilon. Epsilons are on the [0,1] pixel scale.
    """

    method: Annotated[str | None, "pgd-at, trades, ard, iad, akd, rslad, adaad, adaiad, mtard, dgad or saad"]
    igdm: Annotated[float | None, "alpha of IGDM, 0 = off; its weight in epoch e of E is alpha*e/E"]
    igdm_ramp: Annotated[str | None, "linear: that weight; constant: alpha throughout"]
    igdm_term: Annotated[
        str | None,
        "what alpha weighs: igdm, or its rivals trades-reg, D(S(x+d),S(x)), trades-like, D(S(x+d),S(x-d))",
    ]
    mirror: Annotated[str | None, "x-d of IGDM: paper = as it is, clip = clipped to [0,1]"]
    igdm_distance: Annotated[str | None, "kl, l1 or l2, between the logit differences"]
    inner: Annotated[str | None, "adversary: method = the method's own, student = plain PGD on the student"]
    temperature: Annotated[float | None, "tau of ARD"]
    adversarial_weight: Annotated[float | None, "weight of the adversarial term of ARD and AdaAD against the clean one"]
    distillation_weight: Annotated[float | None, "lambda of AKD: weight of the teacher against the labels"]
    trades_beta: Annotated[float | None, "beta of TRADES: weight of the robust term"]
    introspection_start: Annotated[int | None, "IAD, AdaIAD: first epoch in which the student trusts itself"]
    introspection_power: Annotated[float | None, "IAD, AdaIAD: trust in the teacher = its probability to this power"]
    balance_rate: Annotated[float | None, "MTARD: how fast the weights of its two teachers follow the losses"]
    consistency_weight: Annotated[float | None, "beta of DGAD: weight of the distance of S(x+d) from S(x)"]
    entropy_scale: Annotated[float | None, "SAAD: a sample counts this times the teacher's entropy above the least"]
    entropy_order: Annotated[float | None, "SAAD: order of that entropy; 1 = Shannon's"]
    clean_weight: Annotated[float | None, "beta of SAAD: weight of the clean images of samples that count little"]
    eps: Annotated[float | str | None, 'radius of the adversary, L-infinity: a number or a fraction such as "8/255"']
    step: Annotated[float | str | None, "step size of the adversary, at most eps; 0 = eps/4"]
    steps: Annotated[int | None, "steps of the adversary"]
    optimiser: Annotated[str | None, "sgd or adamw"]
    learning_rate: Annotated[float | None, "at its highest"]
    momentum: Annotated[float | None, "of SGD; beta1 of AdamW"]
    beta2: Annotated[float | None, "of AdamW"]
    adam_epsilon: Annotated[float | None, "of AdamW"]
    weight_decay: Annotated[float | None, "on every trainable parameter"]
    nesterov: Annotated[bool | None, "Nesterov's momentum"]
    gradient_clip: Annotated[float | None, "largest L2 norm of the gradient; 0 = no clipping"]
    awp: Annotated[float | None, "gamma of adversarial weight perturbation, 0.005 in its paper; 0 = off"]
    awp_start: Annotated[int | None, "first epoch with it"]
    average: Annotated[str | None, "of the weights: none, ema (exponential, each step) or swa (mean over epochs)"]
    ema_decay: Annotated[float | None, "of ema"]
    swa_start: Annotated[int | None, "first epoch of swa; 0 = after 3/4 of the epochs"]
    flip: Annotated[bool | None, "random horizontal flips"]
    crop_padding: Annotated[int | None, "random crops from the image padded with so many zeros; 0 = off"]
    crop_shift: Annotated[int | None, "CropShift instead: most rows and columns that are cut off, in all; 0 = off"]
    augment: Annotated[
        str | None, "operations on each image: none, autoaugment, trivialaugment, idbh-color or idbh-shape"
    ]
    erasing: Annotated[float | None, "part of the images that get a random rectangle of zeros; 0 = off"]
    erasing_area: Annotated[float | None, "its largest part of the area"]
    cutout: Annotated[int | None, "side of a random square of zeros in each image; 0 = off"]
    cutmix: Annotated[float | None, "part of the images that get a rectangle of another one; 0 = off"]
    generated_ratio: Annotated[float | None, "part of each batch that is drawn from the generated images"]
    schedule: Annotated[str | None, "of the learning rate: multistep, cosine, onecycle or constant"]
    milestones: Annotated[
        Sequence[int] | None, "multistep: epochs after which the learning rate is multiplied by decay"
    ]
    decay: Annotated[float | None, "multistep: that factor"]
    warmup: Annotated[float | None, "onecycle: part of all steps in which the learning rate rises"]
    warmup_epochs: Annotated[float | None, "epochs in which the rate rises to the schedule's; not for onecycle"]
    epochs: Annotated[int | None, "passes over the training data"]
    batch_size: Annotated[int | None, "samples in a batch"]
    steps_per_epoch: Annotated[int | None, "for Trainer.step(): batches that make an epoch"]
    seed: Annotated[int | None, "of the order of samples, the augmentation and the adversary's starts"]
    validation_count: Annotated[int | None, "validate on the first so many samples; 0 = all"]
    validation_steps: Annotated[int | None, "steps of the PGD attack in validation; 0 = clean only"]
    mirror_statistics: Annotated[bool | None, "the pass over x-d moves the student's running statistics (paper) or not"]
