"""Which layout a folder has, what is refused, and that every node sees the same."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from lvseg.config import ConvertConfig
from lvseg.errors import ConfigError, SourceError
from lvseg.phantom import write_phantom
from lvseg.sources import discover, load, open_source
from lvseg.sources.pseudonym import KEY_VARIABLE, Pseudonyms
from lvseg.store import location

LAYOUTS = ("challenge", "cap", "linked", "pairs", "segmentation")


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory) -> Path:
    """One folder a layout, two patients of two slices and six phases."""
    folder = tmp_path_factory.mktemp("phantoms")
    for layout in LAYOUTS:
        write_phantom(
            folder / layout, patients=2, seed=3, size=64, slices=2, phases=6, labelled_only=False, layout=layout
        )
    return folder


def refused(folder: Path, *words: str, error: type[Exception] = SourceError, **settings) -> None:
    with pytest.raises(error) as caught:
        discover(folder, ConvertConfig(**settings))
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_is_recognised(phantoms, layout):
    source = open_source(phantoms / layout, ConvertConfig())
    assert source.layout == layout
    named = open_source(phantoms / layout, ConvertConfig(source=layout))
    assert (named.layout, named.root) == (layout, source.root)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_units_make_the_whole_listing(phantoms, layout):
    """What a node of a cluster lists from a pickled source is what the driver would list."""
    source = pickle.loads(pickle.dumps(open_source(phantoms / layout, ConvertConfig())))
    units, _ = source.units()
    assert len(units) == 2
    items = [item for unit in units for item in source.list_unit(unit).items]
    assert pickle.loads(pickle.dumps(items)) == items
    whole = discover(phantoms / layout)
    assert sorted(items, key=str) == sorted(whole.items, key=str)
    assert len(items) == len({item.name for item in items}) == 6
    assert whole.skipped == whole.findings == ()


@pytest.mark.parametrize(("layout", "other"), [("challenge", "cap"), ("linked", "pairs"), ("linked", "segmentation")])
def test_same_hearts_same_masks(phantoms, layout, other):
    def masks(name: str) -> dict[tuple[str, int | None], np.ndarray]:
        slices = [load(phantoms / name, item, ConvertConfig()) for item in discover(phantoms / name).items]
        return {(each.case_id, each.place.instance_number): each.mask for each in slices}

    one, two = masks(layout), masks(other)
    assert one.keys() == two.keys()
    for key, mask in one.items():
        np.testing.assert_array_equal(mask, two[key])
        assert mask.any()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_store_is_read_like_a_folder(phantoms, layout):
    store = location(f"memory://bucket/{layout}")
    for path in (phantoms / layout).rglob("*"):
        if path.is_file():
            (store / path.relative_to(phantoms / layout).as_posix()).write_bytes(path.read_bytes())
    listing = discover(store)
    assert listing == discover(phantoms / layout)
    for item in listing.items:
        ours, theirs = (load(folder, item, ConvertConfig()) for folder in (store, phantoms / layout))
        np.testing.assert_array_equal(ours.mask, theirs.mask)
        assert ours.source_sha256 == theirs.source_sha256


def test_one_folder_down(phantoms, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/linked").symlink_to(phantoms / "linked")
    source = open_source(tmp_path / "data", ConvertConfig())
    assert (source.layout, source.root) == ("linked", tmp_path / "data/linked")
    assert discover(tmp_path / "data").items[0].image.startswith("linked/dicoms/")


def test_missing_folder(tmp_path):
    refused(tmp_path / "nowhere", str(tmp_path), "no such folder")


def test_file_instead_of_folder(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    refused(tmp_path / "notes.txt", "a file, expected a folder")


def test_empty_folder(tmp_path):
    (tmp_path / ".DS_Store").write_bytes(b"")
    refused(tmp_path, str(tmp_path), "empty")


def test_nothing_recognised(tmp_path):
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans/1.dcm").write_bytes(b"\0" * 200)
    refused(tmp_path, "no known layout", "link.csv", "SC-HF-I-1/", "SCD_IMAGES", "masks/", "SEG", "found scans")


def test_two_layouts_at_once(linked, pairs):
    refused(linked.parent, "several layouts", "linked in", "pairs in", "part1", "source")
    assert {item.case_id for item in discover(linked.parent, ConvertConfig(source="pairs")).items} == {
        "SC-N-2",
        "SC-N-3",
    }
    assert open_source(linked.parent, ConvertConfig(source="linked")).layout == "linked"


def test_pictures_inside_another_layout_are_no_second_source(linked, pairs):
    pairs.rename(linked / "pictures")
    assert open_source(linked, ConvertConfig()).layout == "linked"


def test_two_folders_of_one_layout(phantoms, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).symlink_to(phantoms / "linked")
    refused(tmp_path, "several source folders", "one", "two")


def test_the_other_layout_was_asked_for(linked):
    refused(linked, "not in the layout pairs", "images/ beside masks/", source="pairs")


def test_nothing_that_can_be_used(pairs):
    for path in pairs.rglob("masks/*.png"):
        path.unlink()
    refused(pairs, "no labelled image", "4 left out", "image without mask")


def test_heart_crop_needs_a_cine(pairs):
    refused(pairs, "crop", "pairs", "no cine", error=ConfigError, crop="heart", crop_size=16)


def test_classes_need_two_values(pairs):
    refused(pairs, "must differ, got 3", error=ConfigError, cavity_value=3, myocardium_value=3)


def test_every_node_has_the_drivers_key(linked, monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, "ours")
    source = pickle.loads(pickle.dumps(open_source(linked, ConvertConfig())))
    monkeypatch.setenv(KEY_VARIABLE, "theirs")
    assert source.pseudonyms.case_id("DOE") == Pseudonyms(key=b"ours").case_id("DOE")
    assert "ours" not in repr(source)
