"""Each corruption against a truth that shares no code with it: closed forms, scipy.ndimage, Pillow, colorsys, plain loops."""

import colorsys
from io import BytesIO
from itertools import pairwise
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage, stats
from torch import Tensor

from sharpaudit.corruptions import corrupt, spatter
from sharpaudit.corruptions.blur import glass_blur, trail
from sharpaudit.corruptions.digital import warp
from sharpaudit.corruptions.filters import positions
from sharpaudit.corruptions.noise import _photographs
from sharpaudit.corruptions.randomness import LEVELS, stream, threefry
from sharpaudit.corruptions.severities import CONSTANTS, Table
from sharpaudit.corruptions.texture import PANES, frost_sheets
from sharpaudit.corruptions.weather import plasma
from tests.corruptions.images import photographs

severities = pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
both_ends = pytest.mark.parametrize(("table", "severity"), [(32, 1), (32, 5), (224, 1), (224, 4), (224, 5)])


def corrupted(images: Tensor, name: str, severity: int, table: Table = 32) -> np.ndarray:
    return corrupt(images, name, severity, indices=torch.arange(len(images)), seed=5, table=table).numpy()


def flat(value: int, count: int = 40, size: int = 32, channels: int = 3) -> Tensor:
    return torch.full((count, size, size, channels), value, dtype=torch.uint8)


def truncated(values: np.ndarray) -> np.ndarray:
    return np.floor(values.clip(0, 255) + 1e-9)


# Random numbers


def int32(word: int) -> Tensor:
    return torch.tensor([word]).to(torch.int32)


@pytest.mark.parametrize(
    ("rounds", "key", "counter", "words"),
    [
        (13, (0, 0), (0, 0), (0x9D1C5EC6, 0x8BD50731)),
        (13, (0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0xFD36D048, 0x2D17272C)),
        (13, (0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xBA3E4725, 0xF27D669E)),
        (20, (0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_known_answers_of_random123(
    rounds: int, key: tuple[int, int], counter: tuple[int, int], words: tuple[int, int]
) -> None:
    left, right = threefry((int32(key[0]), int32(key[1])), (int32(counter[0]), int32(counter[1])), rounds)
    assert (int(left) & 0xFFFFFFFF, int(right) & 0xFFFFFFFF) == words


def test_halves_are_uniform_and_uncorrelated() -> None:
    """64 images of 4,096 halves: chi-square of the top six bits; correlations within 5 / √n."""
    halves = stream(3, torch.arange(64), 9).bits((4096,))
    counts = np.bincount((halves >> 10).flatten().numpy(), minlength=64)
    assert stats.chisquare(counts).pvalue > 1e-4
    centred = halves.double() - halves.double().mean()
    for a, b in ((centred[:, 1:], centred[:, :-1]), (centred[1:], centred[:-1])):
        assert abs((a * b).mean() / centred.square().mean()) < 5 / a.numel() ** 0.5
    assert not torch.equal(halves, stream(3, torch.arange(64), 9).bits((4096,), draw=1))


def test_normals_are_normal() -> None:
    drawn = stream(0, torch.arange(8), 1).normal((20000,)).flatten().double().numpy()
    assert stats.kstest(drawn, "norm").pvalue > 1e-3
    assert abs(drawn.mean()) < 5 / len(drawn) ** 0.5 and abs(drawn.var() - 1) < 5 * (2 / len(drawn)) ** 0.5


# Noise: moments in closed form, where clipping plays no part; cutting to whole levels costs half a level


@severities
def test_gaussian_noise_has_its_deviation(severity: int) -> None:
    deviation = 255 * CONSTANTS["gaussian_noise"][32][severity - 1][0]
    residual = corrupted(flat(128), "gaussian_noise", severity).astype(float) - 128
    assert abs(residual.mean() + 0.5) < 5 * deviation / residual.size**0.5
    assert residual.std() == pytest.approx((deviation**2 + 1 / 12) ** 0.5, rel=0.01)


@severities
def test_speckle_noise_grows_with_the_value(severity: int) -> None:
    factor = CONSTANTS["speckle_noise"][32][severity - 1][0]
    for value in (50, 100):
        residual = corrupted(flat(value), "speckle_noise", severity).astype(float) - value
        assert residual.std() == pytest.approx(((factor * value) ** 2 + 1 / 12) ** 0.5, rel=0.02)
    assert not corrupted(flat(0), "speckle_noise", severity).any()


@pytest.mark.parametrize("photons", [500, 50, 3])
def test_shot_noise_is_poisson_for_every_value(photons: int) -> None:
    """The whole table, exactly: mean and variance of min(Poisson(v c / 255) / c, 1) from scipy's probabilities."""
    table = _photographs(photons, torch.device("cpu")).view(256, LEVELS).double().numpy()
    counts = np.arange(3 * photons + 60)
    for value in range(256):
        seen = truncated(np.minimum(counts / photons, 1) * 255)
        chance = stats.poisson.pmf(counts, value / 255 * photons)
        mean = (chance * seen).sum()
        assert table[value].mean() == pytest.approx(mean, abs=0.01)
        assert table[value].var() == pytest.approx((chance * (seen - mean) ** 2).sum(), rel=0.01, abs=0.01)


@severities
def test_impulse_noise_strikes_its_share_evenly(severity: int) -> None:
    amount = CONSTANTS["impulse_noise"][32][severity - 1][0]
    result = corrupted(flat(128), "impulse_noise", severity)
    assert set(np.unique(result)) == {0, 128, 255}
    for struck in (0, 255):
        assert abs((result == struck).mean() - amount / 2) < 5 * (amount / 2 / result.size) ** 0.5


# Blur


@both_ends
def test_gaussian_blur_is_scipys(table: Table, severity: int) -> None:
    images = photographs(2, 70)
    sigma = CONSTANTS["gaussian_blur"][table][severity - 1][0]
    truth = ndimage.gaussian_filter(images.double().numpy(), (0, sigma, sigma, 0), mode="nearest", truncate=4)
    assert np.abs(corrupted(images, "gaussian_blur", severity, table) - truncated(truth)).mean() < 0.01


@both_ends
def test_defocus_blur_is_a_correlation_with_the_published_kernel(table: Table, severity: int) -> None:
    images = photographs(2, 50)
    radius, rim = CONSTANTS["defocus_blur"][table][severity - 1]
    reach, soft = (8, 1) if radius <= 8 else (int(radius), 2)
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    kernel = (rows**2 + columns**2 <= radius**2).astype(float)
    taps = np.exp(-0.5 * (np.arange(-soft, soft + 1) / rim) ** 2)
    for axis in (0, 1):
        kernel = ndimage.correlate1d(kernel, taps / taps.sum(), axis, mode="mirror")
    kernel /= (rows**2 + columns**2 <= radius**2).sum()
    truth = ndimage.correlate(images.double().numpy(), kernel[None, :, :, None], mode="mirror")
    # The mass mirrored at the kernel's border is spread over the disc instead of its rim: within half a level.
    assert np.abs(corrupted(images, "defocus_blur", severity, table) - truncated(truth)).mean() < 0.5


@pytest.mark.parametrize(("reach", "rounds"), [(1, 2), (2, 1), (4, 2)])
def test_glass_blur_shuffles_as_a_walk_does(reach: int, rounds: int) -> None:
    """A blur too narrow to act leaves the shuffle, replayed here pixel by pixel from the same random numbers."""
    images, drawn = photographs(2, 24), stream(5, torch.arange(2), 1)
    truth = images.numpy().copy()
    for turn in range(rounds):
        bits = drawn.bits((2, 24 * 24), draw=turn).view(2, 2, 24, 24).numpy()
        for image, (down, right) in zip(truth, bits * (2 * reach) // LEVELS - reach, strict=True):
            for h in range(24 - reach, reach, -1):
                for w in range(24 - reach, reach, -1):
                    image[h, w] = image[h + down[h, w], w + right[h, w]]
    assert np.array_equal(glass_blur(images, drawn, 0.01, reach, rounds).numpy(), truth)


@pytest.mark.parametrize("degrees", [-45.0, -7.3, 0.0, 30.0, -90.0, -135.0])
def test_a_trail_samples_a_line_of_whole_pixels(degrees: float) -> None:
    images = photographs(1, 20)
    weights = np.exp(-0.5 * (np.arange(13) / 2.5) ** 2)
    rows, columns = np.mgrid[:20, :20]
    truth = np.zeros((20, 20, 3))
    for step, weight in enumerate(weights / weights.sum()):
        row = rows + np.ceil(step * np.sin(np.deg2rad(degrees)) - 0.5).astype(int)
        column = columns + np.ceil(step * np.cos(np.deg2rad(degrees)) - 0.5).astype(int)
        truth += weight * images[0].numpy()[row.clip(0, 19), column.clip(0, 19)]
    assert np.abs(trail(images, torch.tensor([degrees]), 6, 2.5)[0].numpy() - truth).max() < 0.05


def test_motion_blur_keeps_a_constant_image() -> None:
    assert (corrupted(flat(77), "motion_blur", 5) == 77).all()


@both_ends
def test_zoom_blur_is_a_mean_of_scipys_zooms(table: Table, severity: int) -> None:
    images = photographs(1, 64)
    image = images[0].double().numpy()
    step, count = CONSTANTS["zoom_blur"][table][severity - 1]
    total = image.copy()
    for zoom in 1 + step * np.arange(count):
        part = int(np.ceil(64 / zoom))
        start = (64 - part) // 2
        large = ndimage.zoom(image[start : start + part, start : start + part], (zoom, zoom, 1), order=1)
        trim = (len(large) - 64) // 2
        total += large[trim : trim + 64, trim : trim + 64]
    truth = truncated(total / (count + 1))
    assert np.abs(corrupted(images, "zoom_blur", severity, table)[0] - truth).mean() < 0.01


# Weather


def test_snow_whitens_and_falls_twice() -> None:
    """On black nothing is left but 0.5 (1 - kept) of white and flakes that are their own image under 180 degrees."""
    result = corrupted(flat(0), "snow", 4).astype(float)
    ground = np.floor(255 * 0.5 * (1 - CONSTANTS["snow"][32][3][6]))
    assert result.min() == ground
    flakes = result - ground
    assert np.array_equal(flakes, flakes[:, ::-1, ::-1]) and 0.1 < (flakes > 20).mean() < 0.9
    assert (result[..., :1] == result).all()


def test_frost_adds_a_pane() -> None:
    """On black the mean is the panes' mean times the weight, within five standard errors of crops that keep half the variance."""
    sheets = frost_sheets(0.2, torch.device("cpu")).double().numpy()
    result = corrupted(flat(0, count=400), "frost", 5).astype(float).mean((1, 2))
    spread = result.std(0) / 400**0.5
    assert (np.abs(result.mean(0) - (0.45 * sheets.mean((0, 1, 2)) - 0.5)) < 5 * spread).all()


def test_the_panes_look_like_their_recipes() -> None:
    sheets = frost_sheets(1.0, torch.device("cpu")).double().numpy()
    for pane, sheet in zip(PANES, sheets, strict=True):
        assert sheet.mean(2).std() == pytest.approx(pane.deviation, rel=0.03)
        assert np.abs(sheet.mean((0, 1)) - pane.colour).max() < 15
        for axis in (0, 1):  # no seam where the pane repeats
            seam = np.abs(np.diff(sheet, axis=axis, append=sheet[:1] if axis == 0 else sheet[:, :1])).mean((1 - axis, 2))
            assert seam[-1] < 1.5 * seam.mean()


@pytest.mark.parametrize("decay", [3.0, 1.75])
def test_a_plasma_obeys_the_diamond_square_recursion(decay: float) -> None:
    """Every point less the mean of its four parents is uniform noise of amplitude ∝ decay^(-2 level)."""
    heights = plasma(stream(1, torch.arange(200), 2), 32, decay).double().numpy()
    assert heights.min() == 0 and heights.max() == 1 and heights.shape == (200, 32, 32)
    spread = []
    for step in (4, 2):  # the new points of the last two levels, in units of each map's own scale
        corners = heights[:, ::step, ::step]
        parents = corners + np.roll(corners, -1, 1) + np.roll(corners, -1, 2) + np.roll(corners, (-1, -1), (1, 2))
        spread.append((heights[:, step // 2 :: step, step // 2 :: step] - parents / 4).std((1, 2)))
    assert np.mean(spread[0] / spread[1]) == pytest.approx(decay**2, rel=0.05)


@severities
def test_fog_spans_the_images_own_range(severity: int) -> None:
    """White stays within white · [1 / (1 + t), 1], and both ends are met: the cloud reaches from 0 to 1."""
    thickness = CONSTANTS["fog"][32][severity - 1][0]
    result = corrupted(flat(255), "fog", severity)
    assert result.min() == np.floor(255 / (1 + thickness)) and result.max() == 255


def hsv(image: np.ndarray, change: object) -> np.ndarray:
    assert callable(change)
    pixels = [colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*pixel))) for pixel in image.reshape(-1, 3) / 255]
    return truncated(np.array(pixels).reshape(image.shape) * 255)


@severities
def test_brightness_raises_the_value_in_hsv(severity: int) -> None:
    images = photographs(1, 24)
    added = CONSTANTS["brightness"][32][severity - 1][0]
    truth = hsv(images[0].numpy(), lambda h, s, v: (h, s, min(v + added, 1)))
    assert np.abs(corrupted(images, "brightness", severity)[0] - truth).max() <= 1


@severities
@pytest.mark.parametrize("table", [32, 224])
def test_saturate_changes_the_saturation_in_hsv(severity: int, table: Table) -> None:
    images = photographs(1, 24)
    images[0, :3] = 90  # grey counts as red
    factor, offset = CONSTANTS["saturate"][table][severity - 1]
    truth = hsv(images[0].numpy(), lambda h, s, v: (h, min(s * factor + offset, 1), v))
    difference = np.abs(corrupted(images, "saturate", severity, table)[0] - truth)
    assert difference.max() <= 1 and difference.mean() < 0.1


# Spatter


def test_equalising_is_the_map_by_ranks() -> None:
    """255 · (number of pixels at or below − number at the darkest) / (number above the darkest)."""
    plane = torch.randint(20, 90, (2, 1, 9, 9), generator=torch.Generator().manual_seed(1)).float()
    result = spatter.equalised(plane).numpy()
    for image, got in zip(plane.numpy(), result, strict=True):
        darkest = (image == image.min()).sum()
        ranks = np.array([(image <= value).sum() for value in image.flat]).reshape(image.shape)
        assert np.array_equal(got, np.rint((ranks - darkest) * 255 / (image.size - darkest)))
    assert torch.equal(spatter.equalised(torch.full((1, 1, 3, 3), 7.0)), torch.full((1, 1, 3, 3), 7.0))


def test_distances_are_scipys() -> None:
    edges = np.random.default_rng(0).random((3, 1, 40, 50)) < np.array([0.2, 0.01, 0.001])[:, None, None, None]
    edges[:, 0, 5, 5] = True
    truth = np.stack([ndimage.distance_transform_edt(~image[0]) for image in edges])[:, None].clip(max=20)
    assert np.allclose(spatter._distance(torch.from_numpy(edges)).numpy(), truth, atol=1e-5)


def test_edges_ring_a_drop_one_pixel_wide() -> None:
    depth = torch.zeros(1, 1, 21, 21)
    depth[..., 6:15, 6:15] = 200
    edges = spatter._edges(depth)[0, 0].numpy()
    _, count = ndimage.label(edges, np.ones((3, 3)))
    inside = ndimage.binary_fill_holes(edges)
    assert count == 1 and inside[7:14, 7:14].all() and not edges[8:13, 8:13].any() and not edges[:5].any()


def test_weak_edges_survive_only_beside_strong_ones() -> None:
    depth = torch.zeros(1, 1, 16, 16)
    depth[..., 2:14, 4:] = 20  # gradient 80: weak
    assert not spatter._edges(depth).any()
    depth[..., 2:5, 4:] = 60  # part of the same edge is strong
    assert spatter._edges(depth)[0, 0, 9, 3:5].any()


def test_water_brightens_and_mud_is_brown() -> None:
    water = corrupted(flat(60), "spatter", 2).astype(int)
    assert (water >= 60).all() and (water > 60).any()
    mud = corrupted(flat(200), "spatter", 5).astype(int)
    covered = (mud != 200).any(-1)
    assert 0.02 < covered.mean() < 0.6
    assert np.abs(mud[covered].min(0) - spatter.MUD).max() <= 1


# Digital


@severities
def test_contrast_draws_towards_the_mean(severity: int) -> None:
    images = photographs(2, 20)
    factor = CONSTANTS["contrast"][32][severity - 1][0]
    values = images.double().numpy()
    mean = values.mean((1, 2), keepdims=True)
    assert np.abs(corrupted(images, "contrast", severity) - truncated((values - mean) * factor + mean)).mean() < 0.01


@pytest.mark.parametrize("edge", ["mirror", "reflect"])
def test_a_warp_is_scipys_map_coordinates(edge: Literal["mirror", "reflect"]) -> None:
    images = photographs(2, 18)
    planes = images.permute(0, 3, 1, 2).double()
    field = np.random.default_rng(0).normal(0, 4, (2, 2, 18, 18))
    row, column = (np.mgrid[:18, :18][axis] + field[:, axis] for axis in (0, 1))
    got = warp(planes, torch.from_numpy(row), torch.from_numpy(column), edge=edge)
    for i in range(2):
        for channel in range(3):
            truth = ndimage.map_coordinates(planes[i, channel].numpy(), np.stack([row[i], column[i]]), order=1, mode=edge)
            assert np.allclose(got[i, channel].numpy(), truth, atol=1e-6)


@pytest.mark.parametrize(("edge", "mode"), [("nearest", "edge"), ("reflect", "symmetric"), ("mirror", "reflect")])
def test_positions_are_numpys_padding(edge: str, mode: str) -> None:
    for size, reach in ((8, 3), (8, 20), (5, 0)):
        truth = np.pad(np.arange(size), reach, mode=mode)  # type: ignore[call-overload]  # numpy wants a literal
        assert np.array_equal(positions(size, reach, edge), truth)  # type: ignore[arg-type]  # parametrised text


def test_elastic_transform_moves_corners_by_the_jitter() -> None:
    """Severity 1 at 32 is the affine map alone: a ramp stays a ramp, here of slope 2."""
    ramp = torch.arange(40, 104, 2, dtype=torch.uint8).expand(300, 32, 32)[..., None].contiguous()
    result = corrupted(ramp, "elastic_transform", 1)[..., 0].astype(float)
    centre = result[:, 12:20, 12:20]
    residual = centre - ndimage.uniform_filter(centre, (0, 3, 3))
    assert np.abs(residual[:, 1:-1, 1:-1]).max() < 1.5
    # The centre lies between the first and the third corner, which move by up to 0.08 · 32 = 2.56 pixels each.
    shift = (result[:, 16, 16] - 72 + 0.5) / 2
    assert shift.std() == pytest.approx(2.56 / 3**0.5 / 2**0.5, rel=0.15) and abs(shift.mean()) < 0.3


@severities
def test_jpeg_is_pillows(severity: int) -> None:
    images = photographs(3, 40, channels=1)
    quality = CONSTANTS["jpeg_compression"][32][severity - 1][0]
    for image, got in zip(images, corrupted(images, "jpeg_compression", severity), strict=True):
        file = BytesIO()
        Image.fromarray(image[..., 0].numpy()).save(file, "JPEG", quality=quality)
        assert np.array_equal(got[..., 0], np.asarray(Image.open(file)))


@severities
@pytest.mark.parametrize("table", [32, 224])
def test_pixelate_paints_block_means(severity: int, table: Table) -> None:
    """Blocks between rounded multiples of 1 / side; means across, then down, each rounded half up; painted by nearest centre."""
    image = photographs(1, 47)[0].numpy().astype(float)
    small = int(47 * CONSTANTS["pixelate"][table][severity - 1][0])
    borders = np.floor(np.arange(small + 1) * 47 / small + 0.5).astype(int)
    blocks = image
    for axis in (1, 0):
        means = [blocks.take(range(a, b), axis).mean(axis) for a, b in pairwise(borders)]
        blocks = np.floor(np.stack(means, axis) + 0.5)
    painted = ((np.arange(47) + 0.5) * small / 47).astype(int)
    # With an even number of blocks the middle border is a tie, which Pillow may break the other way: its two blocks are left out.
    middle = [small // 2 - 1, small // 2] if small % 2 == 0 else []
    sure = np.flatnonzero(~np.isin(painted, middle))
    got = corrupted(photographs(1, 47), "pixelate", severity, table)[0]
    assert np.array_equal(got[sure][:, sure], blocks[painted][:, painted][sure][:, sure])
