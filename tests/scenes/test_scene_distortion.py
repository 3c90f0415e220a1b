"""distortion.py: the OPENCV lens model, its inverse, and images that are really distorted."""

import numpy as np
import pytest

STRONG = (-0.12, 0.03, 0.001, -0.0015)


@pytest.fixture
def distortion(load):
    return load("capture.distortion")


@pytest.fixture(params=[STRONG, (0.15, -0.02, -0.002, 0.001), (-0.3, 0.1, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0)])
def lens(request, distortion):
    return distortion.Lens(*request.param)


@pytest.fixture
def camera(distortion):
    return distortion.Camera(64, 48, 50.0, distortion.Lens(*STRONG))


def points(count=500, reach=0.75):
    return np.random.default_rng(0).uniform(-reach, reach, (count, 2))


def test_undistort_inverts_distort(lens):
    assert np.abs(lens.distort(lens.undistort(points())) - points()).max() < 1e-6
    assert np.abs(lens.undistort(lens.distort(points())) - points()).max() < 1e-6


def test_jacobian_is_the_derivative(lens):
    step = 1e-6
    for axis in range(2):
        shift = step * np.eye(2)[axis]
        slope = (lens.distort(points() + shift) - lens.distort(points() - shift)) / (2 * step)
        assert np.abs(lens.jacobian(points())[..., axis] - slope).max() < 1e-8


def test_lens_agrees_with_opencv(lens):
    cv2 = pytest.importorskip("cv2")
    coefficients = np.array([lens.k1, lens.k2, lens.p1, lens.p2])
    deep = np.concatenate([points(), np.ones((500, 1))], axis=1)
    projected, _ = cv2.projectPoints(deep, np.zeros(3), np.zeros(3), np.eye(3), coefficients)
    assert np.abs(projected[:, 0] - lens.distort(points())).max() < 1e-9
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-12)
    distorted = lens.distort(points())[:, None]
    undistort = getattr(cv2, "undistortPointsIter", None)  # OpenCV 4; with the criteria in 5
    options = (np.eye(3), coefficients)
    found = (
        undistort(distorted, *options, None, None, criteria) if undistort else cv2.undistortPoints(distorted, *options)
    )
    assert np.abs(found[:, 0] - lens.undistort(lens.distort(points()))).max() < (1e-6 if undistort else 1e-2)


def test_no_lens_leaves_an_image_alone_but_for_its_size(distortion):
    camera = distortion.Camera(20, 12, 17.0, distortion.Lens())
    width, height, angle = camera.wide
    assert (width, height) == (20 * distortion.FINENESS, 12 * distortion.FINENESS)
    assert angle == pytest.approx(camera.angle_x)
    image = np.random.default_rng(0).uniform(size=(12, 20, 3))
    fine = image.repeat(distortion.FINENESS, axis=0).repeat(distortion.FINENESS, axis=1)
    assert np.allclose(camera.apply(fine), image)


def test_a_flat_image_stays_flat(camera):
    width, height, _ = camera.wide
    assert np.allclose(camera.apply(np.full((height, width, 2), 0.3)), 0.3)


def test_pixels_sit_where_the_lens_puts_them(camera, distortion):
    """An image of the coordinates that fine pixels have in the distorted image gives every pixel its own middle."""
    width, height, angle = camera.wide
    focal = width / 2 / np.tan(angle / 2)
    column, row = np.meshgrid(np.arange(width) + 0.5 - width / 2, np.arange(height) + 0.5 - height / 2)
    coordinates = camera.focal * camera.lens.distort(np.stack([column, row], axis=-1) / focal) + [32, 24]
    middle = np.stack(np.meshgrid(np.arange(64) + 0.5, np.arange(48) + 0.5), axis=-1)
    error = np.linalg.norm(camera.apply(coordinates) - middle, axis=-1)
    assert error.max() < 0.01 and error.mean() < 0.004


def test_a_lens_that_folds_the_image_over_is_refused(distortion, load):
    with pytest.raises(load("console").SceneError, match="folds"):
        _ = distortion.Camera(64, 48, 30.0, distortion.Lens(k1=-0.5)).wide


def test_intrinsics_are_those_of_nerfstudio(camera):
    assert camera.intrinsics == {"w": 64, "h": 48, "fl_x": 50.0, "fl_y": 50.0, "cx": 32.0, "cy": 24.0}
