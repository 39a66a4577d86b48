"""The mirrors of igdm.h in the package: every constant, struct field and prototype against the header's text."""

from __future__ import annotations

import ctypes
import re

import igdm
import pytest
from conftest import CHECKOUT
from igdm import _library, _structures, errors

HEADER = re.sub(r"/\*.*?\*/", "", (CHECKOUT / "include" / "igdm.h").read_text(), flags=re.DOTALL)

STRUCTS = {
    "igdm_model_options": _structures.ModelOptions,
    "igdm_model_info": _structures.ModelInfo,
    "igdm_load_options": _structures.LoadOptions,
    "igdm_checkpoint_info": _structures.CheckpointInfo,
    "igdm_dataset_info": _structures.DatasetInfo,
    "igdm_progress": _structures.Progress,
    "igdm_attack_tuning": _structures.AttackTuning,
    "igdm_search_tuning": _structures.SearchTuning,
    "igdm_attack_options": _structures.AttackOptions,
    "igdm_attack_report": _structures.AttackReport,
    "igdm_host_pass": _structures.HostPass,
    "igdm_host_model": _structures.HostModel,
    "igdm_autoattack_options": _structures.AutoAttackOptions,
    "igdm_evaluate_options": _structures.EvaluateOptions,
    "igdm_evaluation_row": _structures.EvaluationRow,
    "igdm_trainer_details": _structures.TrainerDetails,
    "igdm_trainer_options": _structures.TrainerOptions,
    "igdm_batch": _structures.Batch,
    "igdm_step_report": _structures.StepReport,
    "igdm_fit_event": _structures.FitEvent,
    "igdm_trainer_position": _structures.TrainerPosition,
}
OPAQUE = {
    "igdm_model": _structures.Model,
    "igdm_checkpoint": _structures.Checkpoint,
    "igdm_dataset": _structures.Dataset,
    "igdm_evaluation": _structures.Evaluation,
    "igdm_trainer": _structures.Trainer,
}
VALUES = {
    "int32_t": ctypes.c_int32,
    "uint32_t": ctypes.c_uint32,
    "int64_t": ctypes.c_int64,
    "uint64_t": ctypes.c_uint64,
    "uint8_t": ctypes.c_uint8,
    "size_t": ctypes.c_size_t,
    "float": ctypes.c_float,
    "double": ctypes.c_double,
    "igdm_log_callback": _structures.LogCallback,
    "igdm_progress_callback": _structures.ProgressCallback,
    "igdm_fit_callback": _structures.FitCallback,
    "igdm_host_callback": _structures.HostCallback,
    **STRUCTS,
}


def mirror(declaration: str) -> tuple[str, object]:
    """ "const float *mean" or "int64_t reserved[4]" as a name and the ctypes type that mirrors it."""
    match = re.fullmatch(r"(?:const |volatile )*(\w+) *(\**)(\w+)(?:\[(\d+)\])?", declaration.strip())
    assert match, declaration
    base, stars, name, length = match.groups()
    pointers = len(stars)
    if base == "char":
        kind, pointers = ctypes.c_char_p, pointers - 1
    elif base == "void":
        kind, pointers = ctypes.c_void_p, pointers - 1
    elif base in OPAQUE:
        kind, pointers = OPAQUE[base], pointers - 1
    else:
        kind = VALUES[base]
    for _ in range(pointers):
        kind = ctypes.POINTER(kind)
    return name, kind * int(length) if length else kind


def prototypes() -> dict[str, tuple[object, list[object]]]:
    found = {}
    for result, name, parameters in re.findall(r"IGDM_API\s+([\w ]+?\**)\s*\**(igdm_\w+)\(([^)]*)\);", HEADER):
        pointer = "const char" in result
        kind = None if result == "void" else ctypes.c_char_p if pointer else VALUES[result]
        parameters = " ".join(parameters.split())
        found[name] = kind, [] if parameters == "void" else [mirror(one)[1] for one in parameters.split(", ")]
    return found


def test_every_function_of_the_header_has_its_prototype() -> None:
    declared = {name: (ctypes.c_int32, arguments) for name, arguments in _library.STATUS_FUNCTIONS.items()}
    declared |= _library.OTHER_FUNCTIONS
    wanted = prototypes()
    assert len(wanted) == len(re.findall(r"^IGDM_API ", HEADER, re.MULTILINE))
    assert set(declared) == set(wanted)
    for name, prototype in wanted.items():
        assert declared[name] == prototype, name


@pytest.mark.parametrize("name", STRUCTS)
def test_struct_has_the_fields_of_the_header(name: str) -> None:
    body = re.search(rf"typedef struct {name} \{{(.*?)\}} {name};", HEADER, re.DOTALL)
    assert body is not None
    wanted = [mirror(" ".join(line.split())) for line in body.group(1).split(";") if line.strip()]
    assert [(field[0], field[1]) for field in STRUCTS[name]._fields_] == wanted


def test_the_table_of_structs_is_complete() -> None:
    assert set(STRUCTS) == set(re.findall(r"typedef struct (igdm_\w+) \{", HEADER))
    assert set(OPAQUE) == set(re.findall(r"typedef struct (igdm_\w+) \1;", HEADER))


def test_callbacks_have_the_parameters_of_the_header_but_for_user() -> None:
    callbacks = dict(re.findall(r"typedef \w+ \(\*(igdm_\w+)\)\(([^)]*)\);", HEADER))
    assert set(callbacks) == {
        "igdm_log_callback",
        "igdm_progress_callback",
        "igdm_fit_callback",
        "igdm_host_callback",
    }
    for name, parameters in callbacks.items():
        *events, user = (mirror(one)[1] for one in parameters.split(", "))
        assert user is ctypes.c_void_p
        arguments = list(VALUES[name]._argtypes_)
        assert arguments == ([*events, user] if name == "igdm_log_callback" else events)


def test_constants() -> None:
    defined = dict(re.findall(r"#define (IGDM_\w+) \(?(-?\d+)\)?", HEADER))
    numbers = [int(defined[f"IGDM_VERSION_{part}"]) for part in ("MAJOR", "MINOR", "PATCH")]
    assert numbers[0] * 10000 + numbers[1] * 100 + numbers[2] == _library.VERSION_NUMBER
    assert ".".join(map(str, numbers)) == igdm.__version__ == _library.ask("igdm_version_string")
    assert int(defined["IGDM_EVENT_STEP"]) == _structures.EVENT_STEP
    assert int(defined["IGDM_EVENT_EPOCH"]) == _structures.EVENT_EPOCH
    assert int(defined["IGDM_EVENT_VALIDATION"]) == _structures.EVENT_VALIDATION
    assert int(defined["IGDM_EVENT_DATA"]) == _structures.EVENT_DATA
    statuses = {name: int(value) for name, value in defined.items() if name.startswith("IGDM_ERROR_")}
    assert statuses == {kind.name: kind.code for kind in errors._BY_CODE.values()}
    for name, value in statuses.items():
        assert _library.ask("igdm_status_name", value) == name


def test_training_options_are_those_of_the_header() -> None:
    fields = [field[0] for one in (_structures.TrainerOptions, _structures.TrainerDetails) for field in one._fields_]
    fields = ["eps" if name == "epsilon" else name for name in fields]
    hidden = {
        "struct_size", "reserved0", "reserved1", "reserved", "milestone_count", "details", "clean_teacher",
        "generated", "share_teachers",
    }  # fmt: skip
    assert sorted(name for name in fields if name not in hidden) == sorted(igdm.TrainingOptions.__annotations__)


def test_the_project_file_has_the_version() -> None:
    project = (CHECKOUT / "bindings" / "python" / "pyproject.toml").read_text()
    assert f'version = "{igdm.__version__}"' in project
