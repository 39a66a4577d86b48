"""The structs and callback types of igdm.h as ctypes sees them, field by field in the header's order.

Tests/Python/test_contract.py compares sizes, offsets and prototypes with the header.
"""

from __future__ import annotations

import ctypes
import numbers
import operator
from ctypes import (
    CFUNCTYPE,
    POINTER,
    c_char_p,
    c_double,
    c_float,
    c_int32,
    c_int64,
    c_size_t,
    c_uint8,
    c_uint32,
    c_uint64,
    c_void_p,
)
from fractions import Fraction
from typing import Any

from .errors import InvalidArgument


class Struct(ctypes.Structure):
    """A struct of the C library whose fields are set by name, with checks where ctypes would wrap or truncate."""

    def assign(self, **values: Any) -> None:
        """Sets the given fields; None leaves a field as it is, which after ``_init`` means the library's default."""
        kinds = {field[0]: field[1] for field in self._fields_}
        for name, value in values.items():
            if value is not None:
                setattr(self, name, _converted(name, value, kinds[name]))

    def values(self) -> dict[str, Any]:
        """The plain values: numbers and strings, without pointers, sizes and reserved fields."""
        result: dict[str, Any] = {}
        for field in self._fields_:
            name, value = field[0], getattr(self, field[0])
            if name == "struct_size" or name.startswith("reserved"):
                continue
            if isinstance(value, bytes):
                value = value.decode()
            if value is None or isinstance(value, (int, float, str)):
                result[name] = value
        return result


def _converted(name: str, value: Any, kind: Any) -> Any:
    if kind is c_char_p:
        return text(name, value)
    if kind is c_double:
        return number(name, value)
    if kind in (c_int32, c_int64, c_size_t, c_uint64):
        return integer(name, value, kind)
    return value


def text(name: str, value: object) -> bytes:
    """A string argument as the C library takes it."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: got {type(value).__name__}, want str")
    if "\0" in value:
        raise InvalidArgument(f"{name}: got {value!r}, want a string without a zero character")
    return value.encode()


def number(name: str, value: object) -> float:
    """A real number; strings such as "8/255" or "0.1" are accepted because epsilons are written like that."""
    try:
        if isinstance(value, str):
            return float(Fraction(value))
        if isinstance(value, numbers.Real) and not isinstance(value, bool):
            return float(value)
    except (ValueError, ZeroDivisionError, OverflowError):
        raise InvalidArgument(f'{name}: got "{value}", want a number or a fraction such as "8/255"') from None
    raise TypeError(f"{name}: got {type(value).__name__}, want a number")


def integer(name: str, value: object, kind: type[Any] = c_int64) -> int:
    """An integer that fits the C type; ctypes itself would cut off the upper bits without a word."""
    try:
        result = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name}: got {type(value).__name__}, want an integer") from None
    if kind(result).value != result:
        bits = 8 * ctypes.sizeof(kind)
        raise InvalidArgument(
            f"{name}: got {result}, want {'a signed' if kind(-1).value < 0 else 'an unsigned'} integer of {bits} bits"
        )
    return result


def positive(name: str, value: object) -> int:
    """A number of things, of which there is to be at least one."""
    if isinstance(value, bool):
        raise TypeError(f"{name}: got {value}, want an integer")
    result = integer(name, value)
    if result < 1:
        raise InvalidArgument(f"{name}: got {result}, want at least 1")
    return result


class _Model(ctypes.Structure):
    pass


class _Checkpoint(ctypes.Structure):
    pass


class _Dataset(ctypes.Structure):
    pass


class _Evaluation(ctypes.Structure):
    pass


class _Trainer(ctypes.Structure):
    pass


Model = POINTER(_Model)
Checkpoint = POINTER(_Checkpoint)
Dataset = POINTER(_Dataset)
Evaluation = POINTER(_Evaluation)
Trainer = POINTER(_Trainer)


class ModelOptions(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved0", c_uint32),
        ("classes", c_int64),
        ("channels", c_int64),
        ("height", c_int64),
        ("width", c_int64),
        ("base_width", c_int64),
        ("seed", c_uint64),
        ("mean", POINTER(c_float)),
        ("std", POINTER(c_float)),
        ("normalisation_count", c_size_t),
        ("shortcut_input", c_char_p),
        ("final_bn", c_int64),
        ("reserved", c_int64 * 2),
    ]


class ModelInfo(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved0", c_uint32),
        ("classes", c_int64),
        ("channels", c_int64),
        ("height", c_int64),
        ("width", c_int64),
        ("base_width", c_int64),
        ("parameter_count", c_int64),
        ("multiply_adds", c_int64),
        ("architecture", c_char_p),
        ("has_normalisation", c_int64),
        ("shortcut_input", c_char_p),
        ("final_bn", c_int64),
        ("reserved", c_int64 * 2),
    ]


class LoadOptions(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved0", c_uint32),
        ("allow_not_finite", c_int32),
        ("verify", c_int32),
        ("tolerance", c_double),
        ("reserved", c_int64 * 4),
    ]


class CheckpointInfo(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved0", c_uint32),
        ("format_version", c_int64),
        ("file_bytes", c_int64),
        ("architecture", c_char_p),
        ("classes", c_int64),
        ("channels", c_int64),
        ("height", c_int64),
        ("width", c_int64),
        ("base_width", c_int64),
        ("parameter_count", c_int64),
        ("multiply_adds", c_int64),
        ("has_normalisation", c_int64),
        ("array_count", c_int64),
        ("metadata_count", c_int64),
        ("golden_count", c_int64),
        ("golden_source", c_char_p),
        ("shortcut_input", c_char_p),
        ("final_bn", c_int64),
        ("reserved", c_int64 * 1),
    ]


class DatasetInfo(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved0", c_uint32),
        ("count", c_int64),
        ("classes", c_int64),
        ("channels", c_int64),
        ("height", c_int64),
        ("width", c_int64),
        ("has_soft_labels", c_int64),
        ("has_bytes", c_int64),
        ("reserved", c_int64 * 2),
    ]


class Progress(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved0", c_uint32),
        ("stage", c_char_p),
        ("done", c_int64),
        ("total", c_int64),
        ("seconds", c_double),
        ("eta_seconds", c_double),
        ("accuracy", c_double),
        ("reserved", c_int64 * 2),
    ]


LogCallback = CFUNCTYPE(None, c_int32, c_char_p, c_void_p)

# Without the header's last parameter, `void *user`: see _callbacks.py.
ProgressCallback = CFUNCTYPE(c_int32, POINTER(Progress))


class SearchTuning(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved0", c_uint32),
        ("deepfool_overshoot", c_double),
        ("ddn_gamma", c_double),
        ("ddn_radius", c_double),
        ("fmn_step", c_double),
        ("fmn_last_step", c_double),
        ("fmn_gamma", c_double),
        ("fmn_last_gamma", c_double),
        ("spsa_delta", c_double),
        ("spsa_rate", c_double),
        ("spsa_directions", c_int64),
        ("jump_directions", c_int64),
        ("jump_most_directions", c_int64),
        ("jump_gamma", c_double),
        ("cw_rate", c_double),
        ("cw_constant", c_double),
        ("cw_searches", c_int64),
        ("cw_confidence", c_double),
        ("cw_abort_early", c_int64),
        ("reserved", c_int64 * 3),
    ]


class AttackTuning(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reference_quirks", c_int32),
        ("rho", c_double),
        ("fab_alpha", c_double),
        ("fab_eta", c_double),
        ("fab_beta", c_double),
        ("square_share", c_double),
        ("search", POINTER(SearchTuning)),
        ("large_radii", c_int32),
        ("reserved0", c_int32),
        ("momentum_decay", c_double),
        ("reserved", c_int64 * 1),
    ]


class AttackOptions(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("random_start", c_int32),
        ("attack", c_char_p),
        ("norm", c_char_p),
        ("loss", c_char_p),
        ("epsilon", c_double),
        ("step", c_double),
        ("steps", c_int64),
        ("restarts", c_int64),
        ("kappa", c_double),
        ("seed", c_uint64),
        ("early_stop", c_int32),
        ("reserved0", c_int32),
        ("first_index", c_int64),
        ("target_logits", POINTER(c_float)),
        ("progress", ProgressCallback),
        ("user", c_void_p),
        ("cancel", POINTER(c_int32)),
        ("targets", c_int64),
        ("eot", c_int64),
        ("tuning", POINTER(AttackTuning)),
        ("target", c_char_p),
        ("indices", POINTER(c_int64)),
    ]


class AttackReport(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("keep_partial", c_uint32),
        ("success", POINTER(c_uint8)),
        ("first_success", POINTER(c_int64)),
        ("linf", POINTER(c_double)),
        ("l2", POINTER(c_double)),
        ("l1", POINTER(c_double)),
        ("forwards", POINTER(c_int64)),
        ("backwards", POINTER(c_int64)),
        ("successes", c_int64),
        ("total_forwards", c_int64),
        ("total_backwards", c_int64),
        ("seconds", c_double),
        ("quantised", POINTER(c_uint8)),
        ("quantised_successes", c_int64),
        ("reserved", c_int64 * 2),
    ]


class HostPass(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved0", c_uint32),
        ("images", POINTER(c_float)),
        ("count", c_size_t),
        ("cotangent", POINTER(c_float)),
        ("logits", POINTER(c_float)),
        ("gradient", POINTER(c_float)),
        ("reserved", c_int64 * 4),
    ]


HostCallback = CFUNCTYPE(c_int32, POINTER(HostPass))  # without `void *user`, as ProgressCallback


class HostModel(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("has_gradient", c_int32),
        ("classes", c_int64),
        ("channels", c_int64),
        ("height", c_int64),
        ("width", c_int64),
        ("evaluate", HostCallback),
        ("user", c_void_p),
        ("reserved", c_int64 * 4),
    ]


class EvaluateOptions(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("keep_partial", c_uint32),
        ("attacks", c_char_p),
        ("norm", c_char_p),
        ("epsilon", c_double),
        ("step", c_double),
        ("restarts", c_int64),
        ("count", c_int64),
        ("batch_size", c_int64),
        ("seed", c_uint64),
        ("progress", ProgressCallback),
        ("user", c_void_p),
        ("cancel", POINTER(c_int32)),
        ("target", c_char_p),
        ("keep_samples", c_int64),
        ("smaller", Evaluation),
        ("eot", c_int64),
        ("tuning", POINTER(AttackTuning)),
        ("loss", c_char_p),
        ("kappa", c_double),
        ("targets", c_int64),
        ("random_start", c_int32),
        ("reserved0", c_int32),
        ("target_labels", POINTER(c_int64)),
        ("target_count", c_int64),
        ("reserved", c_int64 * 1),
    ]


class EvaluationRow(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved0", c_uint32),
        ("name", c_char_p),
        ("correct", c_int64),
        ("count", c_int64),
        ("accuracy", c_double),
        ("seconds", c_double),
        ("quantised", c_int64),
        ("unfinished", c_int64),
        ("reserved", c_int64 * 2),
    ]


class AutoAttackOptions(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("keep_partial", c_uint32),
        ("version", c_char_p),
        ("attacks", c_char_p),
        ("norm", c_char_p),
        ("epsilon", c_double),
        ("restarts", c_int64),
        ("targets", c_int64),
        ("eot", c_int64),
        ("count", c_int64),
        ("batch_size", c_int64),
        ("seed", c_uint64),
        ("state", c_char_p),
        ("state_seconds", c_double),
        ("progress", ProgressCallback),
        ("user", c_void_p),
        ("cancel", POINTER(c_int32)),
        ("smaller", Evaluation),
        ("tuning", POINTER(AttackTuning)),
        ("reserved", c_int64 * 2),
    ]


class TrainerDetails(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved0", c_uint32),
        ("clean_teacher", Model),
        ("distillation_weight", c_double),
        ("trades_beta", c_double),
        ("introspection_start", c_int64),
        ("introspection_power", c_double),
        ("balance_rate", c_double),
        ("igdm_term", c_char_p),
        ("igdm_ramp", c_char_p),
        ("optimiser", c_char_p),
        ("beta2", c_double),
        ("adam_epsilon", c_double),
        ("gradient_clip", c_double),
        ("warmup_epochs", c_double),
        ("awp", c_double),
        ("awp_start", c_int64),
        ("average", c_char_p),
        ("ema_decay", c_double),
        ("swa_start", c_int64),
        ("cutout", c_int64),
        ("cutmix", c_double),
        ("consistency_weight", c_double),
        ("entropy_scale", c_double),
        ("entropy_order", c_double),
        ("clean_weight", c_double),
        ("generated", Dataset),
        ("generated_ratio", c_double),
        ("augment", c_char_p),
        ("crop_shift", c_int64),
        ("erasing", c_double),
        ("erasing_area", c_double),
        ("share_teachers", c_int32),
        ("reserved1", c_int32),
        ("reserved", c_int64 * 5),
    ]


class TrainerOptions(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved0", c_uint32),
        ("method", c_char_p),
        ("igdm", c_double),
        ("mirror", c_char_p),
        ("igdm_distance", c_char_p),
        ("inner", c_char_p),
        ("temperature", c_double),
        ("adversarial_weight", c_double),
        ("epsilon", c_double),
        ("step", c_double),
        ("steps", c_int64),
        ("learning_rate", c_double),
        ("momentum", c_double),
        ("weight_decay", c_double),
        ("nesterov", c_int32),
        ("flip", c_int32),
        ("crop_padding", c_int64),
        ("schedule", c_char_p),
        ("milestones", POINTER(c_int64)),
        ("milestone_count", c_size_t),
        ("decay", c_double),
        ("warmup", c_double),
        ("epochs", c_int64),
        ("batch_size", c_int64),
        ("steps_per_epoch", c_int64),
        ("seed", c_uint64),
        ("validation_count", c_int64),
        ("validation_steps", c_int64),
        ("mirror_statistics", c_int64),
        ("details", POINTER(TrainerDetails)),
        ("reserved", c_int64 * 6),
    ]


class Batch(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved0", c_uint32),
        ("images", POINTER(c_float)),
        ("labels", POINTER(c_int64)),
        ("count", c_size_t),
        ("adversarial", POINTER(c_float)),
        ("update", c_int32),
        ("reserved1", c_int32),
        ("soft_labels", POINTER(c_float)),
        ("reserved", c_int64 * 3),
    ]


class StepReport(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved0", c_uint32),
        ("loss", c_double),
        ("base_loss", c_double),
        ("igdm_loss", c_double),
        ("igdm_weight", c_double),
        ("learning_rate", c_double),
        ("adversarial_accuracy", c_double),
        ("mirror_outside", c_double),
        ("epoch", c_int64),
        ("step", c_int64),
        ("second_loss", c_double),
        ("reserved", c_int64 * 3),
    ]


class FitEvent(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("kind", c_int32),
        ("epoch", c_int64),
        ("epochs", c_int64),
        ("batch", c_int64),
        ("batches", c_int64),
        ("loss", c_double),
        ("base_loss", c_double),
        ("igdm_loss", c_double),
        ("adversarial_accuracy", c_double),
        ("igdm_weight", c_double),
        ("learning_rate", c_double),
        ("mirror_outside", c_double),
        ("validation_clean", c_double),
        ("validation_robust", c_double),
        ("images_per_second", c_double),
        ("seconds", c_double),
        ("eta_seconds", c_double),
        ("gradient_cosine", c_double),
        ("gradient_distance", c_double),
        ("second_loss", c_double),
        ("reserved", c_int64 * 1),
    ]


class TrainerPosition(Struct):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved0", c_uint32),
        ("epochs", c_int64),
        ("batches", c_int64),
        ("steps", c_int64),
        ("steps_per_epoch", c_int64),
        ("epochs_reported", c_int64),
        ("reserved", c_int64 * 3),
    ]


EVENT_STEP, EVENT_EPOCH, EVENT_VALIDATION, EVENT_DATA = 1, 2, 3, 4

FitCallback = CFUNCTYPE(c_int32, POINTER(FitEvent))  # without `void *user`, as ProgressCallback
