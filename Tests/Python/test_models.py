"""Models: creation, prediction, gradients, weights, files."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import h5py
import igdm
import numpy as np
import pytest
from conftest import CLASSES, SHAPE, make_arrays, make_model


def test_info_describes_what_was_asked_for() -> None:
    model = igdm.Model("resnet14", classes=5, input_shape=(3, 16, 20), width=6, mean=[0.1, 0.2, 0.3], std=[1, 2, 3])
    info = model.info
    assert (info.architecture, info.classes, info.input_shape, info.width) == ("resnet14", 5, (3, 16, 20), 6)
    assert info.mean == pytest.approx((0.1, 0.2, 0.3))
    assert info.std == (1.0, 2.0, 3.0)
    assert info.parameter_count == sum(model.parameters[name].size for name in model.parameters.trainable)
    assert info.multiply_adds > info.parameter_count
    assert "resnet14" in repr(model)


def test_defaults_come_from_the_library() -> None:
    info = igdm.Model("resnet8").info
    assert (info.classes, info.input_shape, info.width, info.mean) == (10, (3, 32, 32), 16, None)


def test_the_seed_decides_the_weights() -> None:
    assert make_model(seed=3).digest() == make_model(seed=3).digest()
    assert make_model(seed=3).digest() != make_model(seed=4).digest()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"architecture": "resnet9"}, "resnet8"),
        ({"classes": 1}, "classes"),
        ({"classes": 2**70}, "64 bits"),
        ({"seed": -1}, "unsigned"),
        ({"input_shape": (0, 12, 12)}, "channels"),
        ({"input_shape": (12, 12)}, "input_shape"),
        ({"mean": [0.5]}, "std"),
        ({"mean": [0.5, 0.5], "std": [1.0, 1.0]}, "mean"),
        ({"mean": [0.5], "std": [0.0]}, "std"),
        ({"architecture": "resnet8\0"}, "zero character"),
        ({"architecture": "preact_resnet18", "shortcut_input": "both"}, "shortcut_input.*raw, activated"),
        ({"architecture": "preact_resnet18", "final_bn": 2}, "final_bn"),
        ({"shortcut_input": "raw"}, "shortcut_input.*resnet8 has no such option"),
        ({"final_bn": True}, "final_bn.*resnet8 has no such option"),
    ],
)
def test_bad_options_are_named(arguments: dict[str, object], message: str) -> None:
    options = {"architecture": "resnet8", "classes": CLASSES, "input_shape": SHAPE} | arguments
    with pytest.raises(ValueError, match=message):
        igdm.Model(**options)  # type: ignore[arg-type]


def test_wrong_types_are_type_errors() -> None:
    with pytest.raises(TypeError, match="architecture"):
        igdm.Model(8)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="classes"):
        igdm.Model("resnet8", classes=2.5)  # type: ignore[arg-type]


def test_numpy_integers_are_integers() -> None:
    assert igdm.Model("resnet8", classes=np.int32(4), input_shape=np.array(SHAPE)).info.classes == 4


def test_predict_does_not_depend_on_the_batch(model: igdm.Model) -> None:
    images, _ = make_arrays(9)
    logits = model.predict(images)
    assert logits.shape == (9, CLASSES)
    assert logits.dtype == np.float32
    for i in range(9):
        np.testing.assert_array_equal(model.predict(images[i : i + 1])[0], logits[i])


def test_input_gradient_agrees_with_differences(model: igdm.Model) -> None:
    images, _ = make_arrays(4)
    images = images * 0.8 + 0.1  # room for the step inside [0,1]
    cotangent = np.random.default_rng(0).normal(size=(4, CLASSES)).astype(np.float32)
    direction = np.random.default_rng(1).normal(size=images.shape).astype(np.float32)
    gradient = model.input_gradient(images, cotangent)
    assert gradient.shape == images.shape
    h = 2e-3
    ahead, behind = (model.predict(images + sign * np.float32(h) * direction / 4) for sign in (1, -1))
    slope = float((cotangent * (ahead - behind)).sum()) / (2 * h)
    assert slope == pytest.approx(float((gradient * direction / 4).sum()), rel=0.05, abs=1e-3)


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (np.zeros((2, *SHAPE)), TypeError, r"float64.*astype\(np.float32\)"),
        (np.zeros((2, *SHAPE), np.uint8), TypeError, "uint8"),
        (np.zeros((2, *SHAPE), ">f4"), TypeError, "dtype"),
        ([[0.0]], TypeError, "float64"),
        (np.zeros((2, 12, 12, 1), np.float32), igdm.ShapeError, r"\(N, 1, 12, 12\)"),
        (np.zeros(SHAPE, np.float32), igdm.ShapeError, r"images\[None\]"),
        (np.zeros((2, 1, 12, 24), np.float32)[..., ::2], igdm.InvalidArgument, "ascontiguousarray"),
        (np.full((2, *SHAPE), 1.5, np.float32), igdm.InvalidArgument, "1.5"),
        (np.full((2, *SHAPE), np.nan, np.float32), igdm.NotFiniteError, "images"),
    ],
)
def test_images_are_refused_not_converted(
    model: igdm.Model, images: np.ndarray, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        model.predict(images)


def test_arrays_are_used_where_they_lie(model: igdm.Model) -> None:
    images, _ = make_arrays(2)
    from igdm import _arrays

    assert np.shares_memory(_arrays.images("images", images, SHAPE), images)
    images.flags.writeable = False
    model.predict(images)


def test_parameters_are_copies_that_can_be_written(model: igdm.Model) -> None:
    parameters = model.parameters
    name = parameters.trainable[0]
    values = parameters[name]
    values += 1
    assert not np.array_equal(parameters[name], values)
    parameters[name] = values
    np.testing.assert_array_equal(model.parameters[name], values)
    assert list(parameters) == list(parameters.shapes)
    assert len(parameters) == len(dict(parameters))
    assert any(shape.endswith("running_var") for shape in parameters)
    assert not any("running" in trainable for trainable in parameters.trainable)


def test_wrong_parameters_leave_the_model_as_it_was(model: igdm.Model) -> None:
    before = model.digest()
    name = model.parameters.trainable[0]
    shape = model.parameters.shapes[name]
    variance = next(one for one in model.parameters if one.endswith("running_var"))
    with pytest.raises(KeyError, match=r"no\.such"):
        model.parameters["no.such"]
    with pytest.raises(igdm.ShapeError, match=r"want \("):
        model.parameters[name] = np.zeros(3, np.float32)
    with pytest.raises(TypeError, match="float64"):
        model.parameters[name] = np.zeros(shape)
    with pytest.raises(igdm.NotFiniteError):
        model.parameters[name] = np.full(shape, np.inf, np.float32)
    with pytest.raises(igdm.InvalidArgument):
        model.parameters[variance] = np.full(model.parameters.shapes[variance], -1, np.float32)
    assert model.digest() == before


def test_views_are_the_memory_of_the_model(model: igdm.Model) -> None:
    name = "linear.weight"
    view = model.parameters.view(name)
    assert view.shape == model.parameters.shapes[name]
    np.testing.assert_array_equal(view, model.parameters[name])
    assert np.shares_memory(view, model.parameters.view(name))
    model.parameters[name] = model.parameters[name] + 1
    np.testing.assert_array_equal(view, model.parameters[name])
    for write in (lambda: view.fill(0), lambda: view.setflags(write=True)):
        with pytest.raises(ValueError, match=r"read-only|WRITEABLE"):
            write()
    with pytest.raises(KeyError, match=r"no\.such"):
        model.parameters.view("no.such")


def test_views_outlive_the_model() -> None:
    model = make_model(seed=3)
    views = {name: model.parameters.view(name) for name in model.parameters}
    copies = dict(model.parameters)
    released = model._owner.finalizer
    model.close()
    del model
    assert released.alive
    others = [make_model(seed=seed) for seed in range(4)]  # which would take freed memory
    for name, view in views.items():
        np.testing.assert_array_equal(view, copies[name])
    view = view[..., None].T  # a view of a view
    del views, others
    assert released.alive
    del view
    assert not released.alive


def test_edit_takes_over_all_or_nothing(model: igdm.Model) -> None:
    images, _ = make_arrays(3)
    before = model.digest()
    with pytest.raises(RuntimeError, match="on the way"), model.edit("linear.bias") as bias:
        bias[0] = 1
        raise RuntimeError("on the way")
    with pytest.raises(igdm.NotFiniteError), model.edit("linear.bias") as bias:
        bias[0] = np.nan
    with pytest.raises(igdm.InvalidArgument, match="variance"), model.edit("bn1.running_var") as variance:
        variance[0] = -1
    with pytest.raises(KeyError, match=r"no\.such"), model.edit("no.such"):
        pass
    assert model.digest() == before
    logits = model.predict(images)
    with model.edit("linear.bias") as bias:
        bias[1] += 2
    np.testing.assert_allclose(model.predict(images) - logits, [[0, 2, 0]] * 3, atol=1e-5)


def test_copies_are_independent(model: igdm.Model) -> None:
    before = model.digest()
    for made in (model.copy(), copy.copy(model), copy.deepcopy(model)):
        assert made.digest() == before
        name = made.parameters.trainable[0]
        made.parameters[name] = made.parameters[name] + 1
    assert model.digest() == before


def test_pickling_is_refused_with_advice(model: igdm.Model) -> None:
    with pytest.raises(TypeError, match=r"igdm.Model cannot be pickled.*save\(\)"):
        pickle.dumps(model)


def test_save_and_load(tmp_path: Path) -> None:
    model = igdm.Model("small_cnn", classes=4, input_shape=(3, 12, 12), width=4, mean=[0.5] * 3, std=[0.2] * 3, seed=5)
    path = tmp_path / "model ä.h5"
    model.save(path)
    loaded = igdm.Model.load(str(path))
    assert loaded.digest() == model.digest()
    assert loaded.info == model.info
    assert loaded.loaded_from == path


def preact(shortcut_input: str | None = None, final_bn: bool | None = None) -> igdm.Model:
    return igdm.Model(
        "preact_resnet18", classes=3, input_shape=(1, 8, 8), width=4, shortcut_input=shortcut_input, final_bn=final_bn
    )


def test_the_four_forms_of_pre_activation(tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((2, 1, 8, 8), np.float32)
    logits = []
    for shortcut_input in ("activated", "raw"):
        for final_bn in (False, True):
            model = preact(shortcut_input, final_bn)
            assert (model.info.shortcut_input, model.info.final_bn) == (shortcut_input, final_bn)
            assert ("bn.weight" in model.parameters) == final_bn
            model.save(tmp_path / "model.h5")
            with h5py.File(tmp_path / "model.h5") as file:
                assert ("shortcut_input" in file.attrs) == (shortcut_input == "raw")
                assert ("final_bn" in file.attrs) == final_bn
            for same in (igdm.Model.load(tmp_path / "model.h5"), model.copy()):
                assert same.info == model.info
                assert same.digest() == model.digest()
            logits.append(model.predict(images))
    assert not any(np.array_equal(a, b) for i, a in enumerate(logits) for b in logits[:i])
    assert preact().info == preact("activated", False).info
    # The same weights, another network.
    assert preact("activated").digest() != preact("raw").digest()
    assert make_model().info.shortcut_input is None


@pytest.mark.parametrize(
    ("architecture", "attribute", "value"),
    [
        ("preact_resnet18", "shortcut_input", np.bytes_("both")),
        ("preact_resnet18", "shortcut_input", 1),
        ("preact_resnet18", "final_bn", 2),
        ("small_cnn", "final_bn", 1),
        ("small_cnn", "shortcut_input", np.bytes_("raw")),
    ],
)
def test_wrong_options_in_a_file_are_named(tmp_path: Path, architecture: str, attribute: str, value: object) -> None:
    igdm.Model(architecture, classes=3, input_shape=(1, 8, 8), width=4).save(tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5", "a") as file:
        file.attrs[attribute] = value
    with pytest.raises(igdm.FormatError, match=attribute):
        igdm.Model.load(tmp_path / "model.h5")


def test_every_architecture_can_be_made_and_used() -> None:
    images = np.random.default_rng(0).random((2, 3, 33, 40), np.float32)
    for pattern in igdm.architectures():
        name = pattern.replace("D_K", "10_1")
        width = None if name != pattern else 4
        model = igdm.Model(name, classes=7, input_shape=(3, 33, 40), width=width, mean=[0.5] * 3, std=[0.25] * 3)
        assert model.predict(images).shape == (2, 7)
        assert np.isfinite(model.input_gradient(images, np.ones((2, 7), np.float32))).all()


def test_files_of_igdm_are_plain_hdf5(model: igdm.Model, tmp_path: Path) -> None:
    model.save(tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5") as file:
        stored = {name: file[f"weights/{name}"][()] for name in model.parameters}
        assert set(file["weights"]) == set(model.parameters)
    for name, values in stored.items():
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, model.parameters[name])


def test_weights_of_h5py_load(model: igdm.Model, tmp_path: Path) -> None:
    other = make_model(seed=9)
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        for name, values in other.parameters.items():
            file[f"weights/{name}"] = values
    model.load_weights(tmp_path / "weights.h5")
    assert model.digest() == other.digest()


def test_a_big_endian_file_is_read_right(tmp_path: Path) -> None:
    model = igdm.Model("small_cnn", classes=4, input_shape=(3, 12, 12), width=4, mean=[0.5] * 3, std=[0.2] * 3, seed=5)
    model.set_golden(np.zeros((2, 3, 12, 12), np.float32))
    model.save(tmp_path / "little.h5")
    with h5py.File(tmp_path / "little.h5") as little, h5py.File(tmp_path / "big.h5", "w") as big:
        for name, value in little.attrs.items():
            kind = {"i": ">i4", "f": ">f8"}.get(np.asarray(value).dtype.kind)
            big.attrs[name] = value if kind is None else np.asarray(value).astype(kind)
        for name in [f"weights/{name}" for name in model.parameters] + ["golden/inputs", "golden/logits"]:
            big[name] = little[name][()].astype(">f4")
            assert big[name].dtype == ">f4"
    loaded = igdm.Model.load(tmp_path / "big.h5", verify=True)
    assert loaded.digest() == model.digest()


def test_weights_that_are_not_finite_load_where_that_is_allowed(model: igdm.Model, tmp_path: Path) -> None:
    model.save(tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5", "r+") as file:
        file["weights/linear.bias"][1] = np.inf
        file["weights/bn1.running_mean"][0] = np.nan
    with pytest.raises(igdm.NotFiniteError, match=r"bn1\.running_mean"):
        igdm.Model.load(tmp_path / "model.h5")
    loaded = igdm.Model.load(tmp_path / "model.h5", allow_not_finite=True)
    assert loaded.parameters["linear.bias"][1] == np.inf
    assert np.isnan(loaded.parameters["bn1.running_mean"][0])
    with pytest.raises(igdm.NotFiniteError, match="sample 0"):
        loaded.predict(make_arrays(2)[0])
    with pytest.raises(igdm.NotFiniteError, match=r"bn1\.running_mean"):
        loaded.save(tmp_path / "again.h5")
    with h5py.File(tmp_path / "model.h5", "r+") as file:
        file["weights/bn1.running_var"][0] = -1
    with pytest.raises(igdm.FormatError, match="variance"):
        igdm.Model.load(tmp_path / "model.h5", allow_not_finite=True)


def test_a_description_needs_no_weights(tmp_path: Path) -> None:
    model = igdm.Model("resnet14", classes=4, input_shape=(3, 12, 12), width=4, mean=[0.5] * 3, std=[0.2] * 3)
    model.metadata.update(source="a test", note="größe")
    model.set_golden(np.zeros((2, 3, 12, 12), np.float32), source="itself")
    path = tmp_path / "model ä.h5"
    model.save(path)
    with h5py.File(path, "r+") as file:
        file["weights/linear.bias"][0] = np.nan  # nobody looks
    found = igdm.describe(path)
    assert found.model == model.info
    assert found.bytes == path.stat().st_size
    assert {name: one.shape for name, one in found.parameters.items()} == model.parameters.shapes
    assert [name for name, one in found.parameters.items() if one.trainable] == model.parameters.trainable
    assert found.graph == model.graph
    assert found.metadata == dict(model.metadata)
    assert (found.golden_count, found.golden_source) == (2, "itself")
    with h5py.File(path, "r+") as file:
        del file["weights/linear.bias"]
    with pytest.raises(igdm.FormatError, match=r"1 missing: \"linear\.bias\""):
        igdm.describe(path)
    with pytest.raises(FileNotFoundError, match=r"nothing\.h5"):
        igdm.describe(tmp_path / "nothing.h5")


@pytest.mark.parametrize("damage", ["missing", "unexpected", "misshapen", "double"])
def test_wrong_weights_are_named_and_change_nothing(model: igdm.Model, tmp_path: Path, damage: str) -> None:
    before, victim = model.digest(), "conv1.weight"
    weights = dict(make_model(seed=9).parameters)
    if damage == "missing":
        del weights[victim]
    elif damage == "unexpected":
        weights["extra.weight"] = np.zeros(3, np.float32)
        victim = "extra.weight"
    elif damage == "misshapen":
        weights[victim] = weights[victim][:, :, :1]
    else:
        weights[victim] = weights[victim].astype(np.complex64)
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        for name, values in weights.items():
            file[f"weights/{name}"] = values
    with pytest.raises(igdm.FormatError, match=victim):
        model.load_weights(tmp_path / "weights.h5")
    assert model.digest() == before


def test_bad_files(model: igdm.Model, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.h5"):
        igdm.Model.load(tmp_path / "nothing.h5")
    (tmp_path / "text.h5").write_text("not HDF5")
    with pytest.raises(igdm.FormatError, match=r"text\.h5"):
        igdm.Model.load(tmp_path / "text.h5")
    model.save(tmp_path / "whole.h5")
    whole = (tmp_path / "whole.h5").read_bytes()
    (tmp_path / "half.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(igdm.FormatError, match=r"half\.h5"):
        igdm.Model.load(tmp_path / "half.h5")
    with pytest.raises(OSError, match="no such folder"):
        model.save(tmp_path / "no such folder" / "model.h5")
    with pytest.raises(ValueError, match="zero character"):
        model.save("model\0.h5")


def test_a_closed_model_says_so(data: igdm.Dataset) -> None:
    with make_model() as model:
        assert not model.closed
    assert model.closed
    model.close()
    for use in (lambda: model.predict(data.images), lambda: igdm.evaluate(model, data), lambda: igdm.Trainer(model)):
        with pytest.raises(igdm.InvalidArgument, match=r"close\(\)"):
            use()
    assert "closed" in repr(model)
