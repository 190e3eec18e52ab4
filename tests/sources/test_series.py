"""Series of a patient, and each image's slice and phase."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest

from lvseg.sources.headers import ImageHeader
from lvseg.sources.listing import Collector
from lvseg.sources.series import Series, find_series
from lvseg.store import location

FOLDER = location("/source")
SLICES, PHASES = 5, 10


def header(number: int, index: int, phase: int, **changes) -> ImageHeader:
    image = ImageHeader(
        path=FOLDER / changes.pop("name", f"IM-0004-{number:04d}.dcm"),
        number=number,
        series_uid="1.2.3",
        series_number=300,
        name_series=4,
        instance_key=f"{index} {phase}",
        shape=(256, 256),
        phases=PHASES,
        trigger_time_ms=80.0 * phase,
        interval_ms=800.0,
        pixel_spacing=(1.5, 1.5),
        spacing_between_slices_mm=8.0,
        position=(1.0, 2.0, 100.0 - 8.0 * index),
        orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    )
    return dataclasses.replace(image, **changes)


def whole(**changes) -> list[ImageHeader]:
    """A complete cine, numbered slice by slice."""
    places = itertools.product(range(SLICES), range(PHASES))
    return [header(n, index, phase, **changes) for n, (index, phase) in enumerate(places, start=1)]


def truth(image: ImageHeader) -> tuple[int, int]:
    index, phase = image.instance_key.split()[:2]
    return int(index), int(phase)


def check(images: list[ImageHeader]) -> Series:
    """Every image has the slice and phase that it was made with."""
    series = Series("4", tuple(images))
    assert series.places == {image.number: truth(image) for image in images}
    return series


def renumbered(images: list[ImageHeader], start: int = 1) -> list[ImageHeader]:
    return [dataclasses.replace(image, number=number) for number, image in enumerate(images, start=start)]


def test_whole_cine():
    series = check(whole())
    assert series.places[48] == (4, 7)
    assert (series.is_whole, series.miscounted, series.phases) == (True, 0, PHASES)
    assert series.gaps_mm.tolist() == [8] * 4


def test_numbers_say_which_end_comes_first():
    upward = [
        dataclasses.replace(image, position=(0.0, 0.0, 8.0 * truth(image)[0]), orientation=image.orientation)
        for image in whole()
    ]
    check(upward)


def test_images_missing_and_the_others_numbered_anew():
    images = renumbered([image for image in whole() if image.number not in (13, 27)])
    series = check(images)
    assert len(images) == 48
    assert series.miscounted == 36


def test_images_missing_and_numbers_kept():
    series = check([image for image in whole() if image.number not in (13, 27)])
    assert (series.is_whole, series.miscounted) == (False, 0)


def test_first_slice_and_another_image_missing():
    check([image for image in whole() if image.number > PHASES and image.number != 27])


def test_middle_slice_missing_and_the_others_numbered_anew():
    check(renumbered([image for image in whole() if truth(image) != (0, 3) and truth(image)[0] != 2]))


def test_numbers_that_start_late():
    check(renumbered(whole(), start=101))


def test_numbers_that_run_phase_by_phase():
    series = check(renumbered(sorted(whole(), key=lambda image: truth(image)[::-1])))
    assert series.miscounted == 48


@pytest.mark.parametrize("part", [0, 0.5, 0.7])
def test_trigger_times_at_the_start_or_the_middle_of_the_phase(part):
    images = [
        dataclasses.replace(image, trigger_time_ms=80.0 * (truth(image)[1] + part))
        for image in whole()
        if image.number not in (13, 20, 21, 50)
    ]
    check(renumbered(images))


def test_interval_longer_than_the_phases_take():
    images = [dataclasses.replace(image, interval_ms=1000.0) for image in whole() if image.number not in (13, 27)]
    check(renumbered(images))


def test_labelled_images_only():
    check([image for image in whole() if truth(image)[1] in (0, 4)])


def test_without_positions_a_whole_series_is_counted():
    images = whole(position=None)
    check(images)
    assert set(Series("4", tuple(images[:-1])).places.values()) == {(None, None)}


def test_without_positions_trigger_times_can_contradict_the_count():
    images = renumbered(sorted(whole(position=None), key=lambda image: truth(image)[::-1]))
    assert set(Series("4", tuple(images)).places.values()) == {(None, None)}


def test_without_trigger_times_whole_slices_are_counted():
    check(whole(trigger_time_ms=None))
    images = renumbered([image for image in whole(trigger_time_ms=None) if image.number != 13])
    places = Series("4", tuple(images)).places
    assert places[12] == (1, None)
    assert places[20] == (2, 0)


def test_without_the_number_of_phases():
    check(whole(phases=None))


def test_two_images_at_one_time():
    images = [dataclasses.replace(image, trigger_time_ms=0.0) if image.number == 12 else image for image in whole()]
    places = Series("4", tuple(images)).places
    assert {places[number] for number in range(11, 21)} == {(1, None)}
    assert places[21] == (2, 0)


def found_series(images: list[ImageHeader]) -> tuple[list[Series], dict[str, str]]:
    found = Collector(FOLDER)
    series = find_series(images, found, "SC-N-2")
    return series, {skip.file: skip.reason for skip in found.skipped}


def test_series_in_one_folder():
    other = [header(n, 0, n - 1, name=f"IM-0012-{n:04d}.dcm", name_series=12, series_uid="1.2.4") for n in (1, 2)]
    series, skipped = found_series(whole() + other)
    assert {each.label: len(each.images) for each in series} == {"0004": 50, "0012": 2}
    assert skipped == {}


def second_cine(images: list[ImageHeader]) -> list[ImageHeader]:
    return [
        dataclasses.replace(
            image,
            path=FOLDER / f"IM-0005-{image.number:04d}.dcm",
            name_series=5,
            instance_key=f"{image.instance_key} second",
        )
        for image in images
    ]


def test_series_without_uid():
    images = whole(series_uid="")
    assert [each.label for each in found_series(images + second_cine(images))[0]] == ["0004", "0005"]


def test_second_cine_with_the_same_uid_and_numbers():
    series, skipped = found_series(whole() + second_cine(whole()))
    assert [each.label for each in series] == ["0004", "0005"]
    assert skipped == {}
    for each in series:
        check(list(each.images))


def test_second_cine_that_goes_on_counting():
    second = [dataclasses.replace(image, number=image.number + 50) for image in whole()]
    series, _ = found_series(whole() + second)
    assert [(each.label, len(each.images)) for each in series] == [("300 (1)", 50), ("300 (2)", 50)]
    for each in series:
        check(list(each.images))


@pytest.mark.parametrize("name", ["IM-0004-0008-copy.dcm", "copy.dcm"])
def test_copy_of_a_file(name):
    copy = dataclasses.replace(whole()[7], path=FOLDER / name, name_series=None)
    series, skipped = found_series([*whole(), copy])
    assert [(each.label, len(each.images)) for each in series] == [("0004", 50)]
    assert list(skipped.values()) == ["same image number as IM-0004-0008.dcm"]


def test_the_same_number_twice():
    other = dataclasses.replace(whole()[7], path=FOLDER / "IM-0004-0108.dcm", instance_key="another")
    series, skipped = found_series([*whole(), other])
    assert [len(each.images) for each in series] == [50]
    assert skipped == {"IM-0004-0108.dcm": "same image number as IM-0004-0008.dcm"}


def test_series_folders_name_no_series():
    images = [
        dataclasses.replace(image, path=FOLDER / Path(f"{image.number}.dcm"), name_series=None) for image in whole()
    ]
    assert [each.label for each in found_series(images)[0]] == ["300"]
