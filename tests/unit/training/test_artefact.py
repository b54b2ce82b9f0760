"""A model on disk: it comes back as it was, and whatever was altered is refused."""

import json
from dataclasses import replace

import pytest

from crsrisk.errors import ModelError
from tests.toy_models import offset_model, tree_model
from training.artefact import load_model, read_manifest, save_model


def test_a_model_comes_back_as_it_was(tmp_path):
    model = tree_model()
    save_model(model, tmp_path / "m")
    assert load_model(tmp_path / "m") == model


def test_a_model_without_trees_has_no_booster_file(tmp_path):
    manifest = save_model(offset_model(), tmp_path / "m")
    assert sorted(manifest["files"]) == ["model.json"]
    assert load_model(tmp_path / "m").booster is None


def test_the_manifest_names_every_file_and_contract_1(tmp_path):
    manifest = save_model(tree_model(), tmp_path / "m")
    files = {p.relative_to(tmp_path / "m").as_posix() for p in (tmp_path / "m").rglob("*") if p.is_file()}
    assert files == {*manifest["files"], "manifest.json"}
    assert manifest["contract"] == 1
    assert manifest["digest"].startswith("sha256:")
    assert read_manifest(tmp_path / "m") == manifest


def test_saving_twice_gives_the_same_digest(tmp_path):
    first, second = (save_model(tree_model(), tmp_path / name) for name in ("a", "b"))
    assert first["digest"] == second["digest"]


@pytest.mark.parametrize("name", ["model.json", "booster.txt", "bootstrap/00.txt"])
def test_an_altered_file_is_refused(tmp_path, name):
    save_model(tree_model(), tmp_path / "m")
    path = tmp_path / "m" / name
    path.write_text(path.read_text(encoding="utf-8") + " ", encoding="utf-8")
    with pytest.raises(ModelError, match=r"was altered"):
        load_model(tmp_path / "m")


def test_a_missing_file_is_refused(tmp_path):
    save_model(tree_model(), tmp_path / "m")
    (tmp_path / "m" / "booster.txt").unlink()
    with pytest.raises(ModelError, match="model is incomplete"):
        load_model(tmp_path / "m")


def test_a_manifest_whose_files_changed_without_its_digest_is_refused(tmp_path):
    save_model(tree_model(), tmp_path / "m")
    path = tmp_path / "m" / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    del manifest["files"]["booster.txt"]
    path.write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(ModelError, match="does not match its files"):
        load_model(tmp_path / "m")


@pytest.mark.parametrize("contract", [2, 0, "1", None])
def test_a_contract_that_is_not_known_is_refused(tmp_path, contract):
    save_model(tree_model(), tmp_path / "m")
    path = tmp_path / "m" / "manifest.json"
    path.write_text(
        json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"contract": contract}), encoding="utf-8"
    )
    with pytest.raises(ModelError, match="this program reads 1 to 1"):
        load_model(tmp_path / "m")


def test_a_file_outside_the_folder_is_refused(tmp_path):
    from training.artefact import _digest

    save_model(offset_model(), tmp_path / "m")
    path = tmp_path / "m" / "manifest.json"
    files = {"../outside.txt": "0" * 64}
    path.write_text(json.dumps({"contract": 1, "files": files, "digest": _digest(files)}), encoding="utf-8")
    with pytest.raises(ModelError, match="outside the model's folder"):
        load_model(tmp_path / "m")


def test_a_model_of_other_features_is_refused(tmp_path):
    save_model(replace(tree_model(), feature_digest="sha256:" + "0" * 64), tmp_path / "m")
    with pytest.raises(ModelError, match="was made for feature set"):
        load_model(tmp_path / "m")


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"no manifest\.json"):
        load_model(tmp_path)


def test_a_manifest_that_is_no_json_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match="can't be read"):
        load_model(tmp_path)


def test_a_used_folder_is_not_written_over(tmp_path):
    save_model(offset_model(), tmp_path / "m")
    with pytest.raises(ModelError, match="is not empty"):
        save_model(offset_model(), tmp_path / "m")
