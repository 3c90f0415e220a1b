"""Pages of field files in headless Chromium: the pictures of torch, the controls, and what goes wrong."""

import base64
import re
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from support.browser import needs_browser, wait_for
from support.field_pages import browsing, over, psnr, rendered, sentence
from support.helpers import look_at_origin
from support.stored_runs import CONES, KINDS, MAKE_RUN, cone_run, encoded, full

from eugen_fields.errors import InputError
from eugen_fields.layers.random_matrices import prp_matrix
from eugen_fields.storing import container
from eugen_fields.storing.cameras import Camera
from eugen_fields.storing.loading import understand
from eugen_fields.storing.networks import MATRICES
from eugen_fields.storing.web import SOURCES, check_width, page_of, shader_reads, write_page

pytestmark = needs_browser

HOSTILE = '</script><script>window.hacked = 1</script><img src=x onerror="window.hacked = 1">\'&amp; ${1} $name'
BOTH = (
    "dense with skip connections", "eugen with skip connections", "eugen of order 2", "eugen-residual",
    "prp, orthogonal", "low-rank", "snnk",
)  # fmt: skip
"""Kinds that are drawn by WebGL2 and by WebGPU, whose code is respelled from the same text."""
ONE = ("eugen without norm", "eugen of order 3, shared", "prp, hadamard", "prp with a low-rank term")
"""Kinds that are drawn by WebGL2 alone. What is left has the stages of one of these, with other numbers."""
WAYS = [(name, way) for way in ("webgl2", "webgpu") for name in (*BOTH, *ONE) if way == "webgl2" or name in BOTH]
NARROW = {"layer_width": 14, "feature_dim": 6, "color_width": 10, "position_frequencies": 2}
"""Quickly drawn; groups of four numbers have some left over."""


@pytest.fixture(scope="module")
def browser():
    with browsing() as opened:
        yield opened


def views(size=64):
    """Three cameras around the origin."""
    places = ((0.4, 0.3), (2.5, -0.4), (4.4, 1.0))
    poses = [torch.from_numpy(look_at_origin(*angles, 3.0)[:3]).float() for angles in places]
    return [Camera(pose, size, size, 1.4 * size, 1.4 * size, size / 2, size / 2) for pose in poses]


def stored_page(folder, what="radiance", texts=None, **options):
    """A page of an untrained field whose rays end after few samples, its field, and the bytes of its file."""
    if what == "radiance":
        run = MAKE_RUN[what](folder / "run", **NARROW | options)
        run.field.initial_density = 60.0
    else:
        run = MAKE_RUN[what](folder / "run", **{"layer_width": 14, "position_frequencies": 1} | options)
    return page_of_run(run, folder, texts)


def page_of_run(run, folder, texts=None):
    draft, _ = full(run)
    draft.scene |= texts or {}
    data = encoded(draft)
    path = folder / "scene.field"
    path.write_bytes(data)
    page = folder / "scene.html"
    write_page(path, page)
    return page, understand(container.decode(data), path), data


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return stored_page(tmp_path_factory.mktemp("plain"), layer="eugen", num_features=8)


@pytest.mark.parametrize("name, way", WAYS, ids=[f"{name} by {way}" for name, way in WAYS])
def test_pages_draw_what_torch_draws(name, way, browser, tmp_path):
    path, stored, data = stored_page(tmp_path, **KINDS[name])
    arrays = container.decode(data).arrays
    weights = sum(array.size for place, array in arrays.items() if place.partition(".")[0] in ("trunk", "color_head"))
    wanted = 70 if KINDS[name]["layer"] in ("eugen", "prp") else 60
    with browser.page(path, way) as page:
        assert page.evaluate("fieldPage.page.drawing.name").lower() == way
        assert page.evaluate("fieldPage.page.field.stored") == weights
        for camera in views():
            truth, drawn = stored.render(camera), rendered(page, camera)
            assert float(truth["accumulation"].mean()) > 0.2
            assert psnr(over(drawn, stored), truth["rgb"]) >= wanted
            assert psnr(drawn[..., 3:], truth["accumulation"]) >= 60
        reads = len(re.findall(r"= madd\(z|= madd\(h", page.evaluate("fieldPage.page.field.shader.code")))
        networks = (stored.field.trunk, stored.field.color_head)
        assert reads <= sum(map(shader_reads, networks)) + 8, "the limit of pages counts less than a shader has"


@pytest.mark.parametrize("name", CONES)
@pytest.mark.parametrize("way", ["webgl2", "webgpu"])
def test_pages_of_cones_draw_what_torch_draws(name, way, browser, tmp_path):
    run = cone_run(tmp_path / "run", **CONES[name])
    run.field.initial_density = 40.0
    path, stored, _ = page_of_run(run, tmp_path)
    with browser.page(path, way) as page:
        assert page.evaluate("fieldPage.page.drawing.name").lower() == way
        for camera in (*views(), views(9)[0]):  # pixels of 9 x 9 are cones that see coarse detail alone
            truth, drawn = stored.render(camera), rendered(page, camera)
            assert float(truth["accumulation"].mean()) > 0.2
            assert psnr(over(drawn, stored), truth["rgb"]) >= 60


@pytest.mark.parametrize("name, way", [("eugen-residual", "webgl2"), ("dense with skip connections", "webgpu")])
def test_pages_of_distances_draw_what_torch_draws(name, way, browser, tmp_path):
    path, stored, _ = stored_page(tmp_path, "distance", **KINDS[name])
    shown = []
    with browser.page(path, way) as page:
        for camera in views():
            truth, drawn = stored.render(camera), over(rendered(page, camera), stored)
            apart = (drawn - truth["rgb"]).abs().amax(dim=-1) > 0.02
            assert int(apart.sum()) <= 4, "more than rays that graze a surface, and meet it or not by rounding"
            assert psnr(drawn[~apart], truth["rgb"][~apart]) >= 60
            shown.append(float(truth["accumulation"].mean()))
    assert max(shown) > 0.1


@pytest.mark.parametrize("kind", MATRICES)
def test_pages_draw_the_matrices_of_seeds(kind, browser):
    source = (SOURCES / "reading" / "random.js").read_text(encoding="utf-8")
    sizes = [(24, 24, 0), (21, 33, 7), (16, 40, (1 << 63) - 1), (40, 3, 123456789123)]
    with browser.blank() as page:
        for columns, rows, seed in sizes:
            called = f"prpMatrix('{kind}', {columns}, {rows}, {seed}n)"
            drawn = page.evaluate(f"() => {{ {source}; return Array.from({called}) }}")
            truth = prp_matrix(kind, columns, rows, seed).flatten()
            assert torch.equal(torch.tensor(drawn, dtype=torch.float64).float(), truth.float())


def test_depth_and_normals_are_those_of_torch(browser, tmp_path):
    path, stored, _ = stored_page(tmp_path, layer="eugen", num_features=8, feature_activation="softplus")
    camera = views()[0]
    truth = stored.render(camera, normals=True)
    solid = truth["accumulation"][..., 0] > 0.99
    with browser.page(path) as page:
        normals, depth = (rendered(page, camera, mode) for mode in ("normals", "depth"))
        near, far = page.evaluate("origin => fieldPage.depths({ origin })", camera.pose[:, 3].tolist())
    assert psnr(normals[solid][:, :3], truth["normals"][solid]) > 35  # by differences there, by the gradient in torch
    found = near + depth[..., :1] * (far - near)
    assert float((found - truth["depth"])[solid].abs().max()) < 1e-3


def test_a_page_asks_for_nothing_but_itself(browser, plain):
    with browser.page(plain[0], "") as page:
        page.evaluate("fieldPage.settled()")
    assert {request.partition(":")[0] for request in browser.requests} <= {"file", "data", "blob"}
    assert [request for request in browser.requests if request.startswith("file") and ".html" not in request] == []
    assert browser.faults == []


STRANGE = """() => {
  const script = document.createElement("script");
  script.textContent = "window.hacked = 1";
  document.body.append(script);
  document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='window.hacked = 1'>");
}"""


def test_hostile_texts_stay_texts(browser, tmp_path):
    texts = {name: HOSTILE for name in ("name", "method", "layer")}
    path, _, _ = stored_page(tmp_path, texts=texts, layer="dense")
    assert "<img" not in path.read_text(encoding="utf-8")
    with browser.page(path) as page:
        assert page.evaluate("typeof window.hacked") == "undefined"
        assert page.evaluate("document.querySelectorAll('img, iframe, object, #facts *:not(dt):not(dd)').length") == 0
        assert page.title() == HOSTILE and page.inner_text("#name") == HOSTILE
        assert page.inner_text("#facts").count(HOSTILE) == 2
        page.evaluate(STRANGE)
        page.wait_for_timeout(50)
        assert page.evaluate("typeof window.hacked") == "undefined", "the page's policy lets strangers' scripts run"
    assert browser.faults == []


def test_pages_are_small(tmp_path):
    """The page of a field of the demo's size, whose file has 15 to 22 kB: the rest is the same in every page."""
    path, _, data = stored_page(tmp_path, layer="eugen", num_features=8)
    rest = path.stat().st_size - len(base64.b64encode(data))
    assert rest + 4 / 3 * 24_000 < 80_000


@pytest.mark.parametrize("options, words", [
    ({"layer": "dense", "layer_width": 700}, "a layer of it has 700 values, and a page can show 640"),
    ({"layer": "dense", "layer_width": 640, "skip_connections": (1, 2)}, "blocks of four numbers"),
])  # fmt: skip
def test_fields_that_are_too_wide_are_refused(options, words, tmp_path):
    with pytest.raises(InputError, match=words) as raised:
        stored_page(tmp_path, **options)
    assert "narrower network" in raised.value.message and str(tmp_path) in raised.value.message
    assert not (tmp_path / "scene.html").exists()


PHONE = (400, 700, 0.25)


def picture(page):
    """The middle of the page as it is shown, integers, shape (height, width, 3)."""
    page.wait_for_timeout(30)
    page.evaluate("fieldPage.settled()")
    return np.asarray(Image.open(BytesIO(page.screenshot())).convert("RGB")).astype(int)[25:100]


def test_controls_change_the_picture(browser, plain):
    path, stored, data = plain
    with browser.page(path, size=PHONE) as page:
        pictures = [picture(page)]
        page.mouse.move(200, 250)
        page.mouse.down()
        page.mouse.move(300, 280, steps=2)
        page.mouse.up()
        pictures.append(picture(page))
        page.mouse.wheel(0, 300)
        pictures.append(picture(page))
        for key in ("2", "3", "4", "1", "ArrowLeft", "r"):
            page.keyboard.press(key)
            pictures.append(picture(page))
        changes = [float(np.abs(before - after).mean()) for before, after in zip(pictures, pictures[1:])]
        assert min(changes) > 0.5, changes
        assert np.abs(pictures[0] - pictures[-1]).mean() < 0.5, "the first view comes back"
        page.click("#strip button >> nth=0")
        still = "!fieldPage.page.view.moving"
        wait_for(lambda: page.evaluate(still), 30, "the view", lambda: page.wait_for_timeout(20))
        place = stored.cameras[0].pose[:, 3].tolist()
        assert page.evaluate("fieldPage.page.view.origin") == pytest.approx(place, abs=1e-5)
        with page.expect_download() as download:
            page.click("#field")
        assert download.value.suggested_filename.endswith(".field")
        saved = download.value.path()
        with open(saved, "rb") as file:
            assert file.read() == data
        with page.expect_download() as download:
            page.click("#picture")
        with open(download.value.path(), "rb") as file:
            assert file.read(8) == b"\x89PNG\r\n\x1a\n"
        assert "samples per pixel" in page.inner_text("#readout")
    assert browser.faults == []


def test_distances_are_cut_and_painted(browser, tmp_path):
    path, stored, _ = stored_page(tmp_path, "distance", {"slice_height": 0.25}, **KINDS["eugen-residual"])
    with browser.page(path, size=PHONE) as page:
        assert page.evaluate("fieldPage.page.look.cut.height") == stored.scene.slice_height == 0.25
        pictures = []
        for cut in (0, 1, 2):
            page.click(f"[data-cut='{cut}']")
            pictures.append(picture(page))
        page.fill("#height", "-0.6")
        pictures.append(picture(page))
    changes = [float(np.abs(before - after).mean()) for before, after in zip(pictures, pictures[1:])]
    assert min(changes) > 0.5, changes


def test_a_lost_context_is_told(browser, plain):
    with browser.page(plain[0]) as page:
        assert sentence(page) == ""
        page.evaluate("fieldPage.page.drawing.gl.getExtension('WEBGL_lose_context').loseContext()")
        wait_for(lambda: sentence(page), 10, "a sentence", lambda: page.wait_for_timeout(20))
        assert "Reload the page" in sentence(page)


def test_an_error_that_ends_the_drawing_is_told(browser, plain):
    with browser.page(plain[0]) as page:
        page.evaluate("fieldPage.settled()")
        page.evaluate("() => { fieldPage.page.drawing.makeTarget = () => { throw new Error('out of memory'); }; }")
        page.evaluate("fieldPage.page.frames.change()")
        wait_for(lambda: sentence(page), 10, "a sentence", lambda: page.wait_for_timeout(20))
        assert "Drawing stopped because of an error" in sentence(page) and "out of memory" in sentence(page)
    assert browser.faults == []


def test_planes_that_pages_cannot_show_are_refused(tmp_path):
    run = cone_run(tmp_path / "run", **CONES["planes"])
    path = tmp_path / "floats.field"
    path.write_bytes(full(run)[0].encode())
    with pytest.raises(InputError, match="floats.field has planes of floats"):
        write_page(path, tmp_path / "x.html")
    run = cone_run(tmp_path / "run", plane_resolutions=(1024, 700), plane_channels=2)
    with pytest.raises(InputError, match="fill 4,615,728 texels"):
        check_width(full(run)[1], is_draft=True)
    assert not (tmp_path / "x.html").exists()


NOTHING = """Object.defineProperty(navigator, "gpu", { value: undefined });
HTMLCanvasElement.prototype.getContext = () => null;"""


def test_browsers_without_any_drawing_are_told(browser, plain):
    with browser.page(plain[0], "", init=NOTHING) as page:
        assert "neither WebGPU nor WebGL2" in sentence(page)
    with browser.page(plain[0], "", init="delete globalThis.DecompressionStream") as page:
        assert "too old" in sentence(page)


def test_drivers_that_draw_wrong_colours_are_told(browser, plain, tmp_path):
    text = plain[0].read_text(encoding="utf-8")
    path = tmp_path / "wrong.html"
    path.write_text(re.sub(r'"color": \[[^,]*,', '"color": [0.123,', text), encoding="utf-8")
    with browser.page(path, "") as page:
        assert "draws the field wrongly" in sentence(page)


def test_damaged_fields_are_told(browser, plain, tmp_path):
    _, stored, data = plain
    broken = bytearray(data)
    broken[len(data) // 2] ^= 64
    html = page_of(data, stored.path)
    path = tmp_path / "damaged.html"
    path.write_text(html.replace(base64.b64encode(data).decode(), base64.b64encode(broken).decode()), encoding="utf-8")
    with browser.page(path, "") as page:
        assert "damaged" in sentence(page)
    browser.faults.clear()
