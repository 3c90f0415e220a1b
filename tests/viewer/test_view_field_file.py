"""A field file is shown like a run that has ended, with its cameras and its facts."""

import html

import pytest
from support.stored_runs import MAKE_RUN, full

from eugen_fields.runs import SDFRun
from eugen_fields.storing import container
from eugen_viewer.card import card, summary
from eugen_viewer.curves import read_curves
from eugen_viewer.opened import OpenedRun
from eugen_viewer.pictures.photos import find_photos
from eugen_viewer.pictures.pictures import MODES, Look, render
from eugen_viewer.start import find_subject


@pytest.mark.parametrize("what", MAKE_RUN)
def test_a_field_file_is_opened_rendered_and_described(what, tmp_path):
    draft, _ = full(MAKE_RUN[what](tmp_path / "run", layer="prp"))
    draft.measured = {"on": "1 test view", "psnr_before": 31.0, "psnr_after": 30.9}
    path = tmp_path / "scene.field"
    container.write(path, draft.encode())
    opened = OpenedRun(path, "cpu")
    assert not opened.refresh() and isinstance(opened.shown.run, SDFRun) == (what == "distance")
    assert "scene.field" in opened.shown.name and "prp" in opened.shown.name
    rows = summary(opened.shown)
    assert rows["Field file"] == f"{path.stat().st_size:,} bytes"
    assert rows["PSNR of run and file"] == "31.00 and 30.90 dB"
    photos = find_photos(opened)
    assert len(photos) == 1 and photos.paths == []
    view = find_subject(opened.shown.run, photos).framed(1.5).view
    for mode in MODES:
        steps = render([opened.shown], view, Look(mode=mode), 12, 200)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                assert end.value.outputs["rgb"].shape == (12, 18, 3)
                break
    assert read_curves(opened.folder) == {}


def test_texts_of_a_field_file_stay_texts(tmp_path):
    hostile = "{window.hacked = 1} <img src=x> ![a](http://b) | **c** `d` &amp; \\{e}"
    draft, _ = full(MAKE_RUN["radiance"](tmp_path / "run", layer="prp"))
    draft.scene |= {"layer": hostile, "method": hostile}
    path = tmp_path / "scene.field"
    container.write(path, draft.encode())
    table = card(summary(OpenedRun(path, "cpu").shown))
    assert not set(table) & set("{}<>[]!*`\\:"), "viser's Markdown runs what stands in braces"
    assert {line.count("|") for line in table.splitlines()} == {3}
    assert html.unescape(table).count(hostile) == 2
