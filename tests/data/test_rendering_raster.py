"""The rasteriser against a ray through every sample, and the vectors of light and pose against arithmetic."""

from __future__ import annotations

import numpy as np

from harness.data.rendering.pose import shortest_arc, skin
from harness.data.rendering.raster import LINEAR, rasterise, shade

HEIGHT, WIDTH = 24, 18


def _soup(count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(3)
    points = generator.uniform(-6, 30, (3 * count, 3)).astype(np.float32)
    return points, np.arange(3 * count, dtype=np.int32).reshape(-1, 3)


def _nearest(points: np.ndarray, triangles: np.ndarray, x: float, y: float) -> tuple[int, float]:
    """The triangle in front at a place, by solving for barycentric coordinates; and how clear that is."""
    best, depth, margin = -1, -np.inf, np.inf
    for number, corners in enumerate(points[triangles].astype(float)):
        matrix = np.vstack([corners[:, :2].T, np.ones(3)])
        weights = np.linalg.solve(matrix, [x, y, 1])
        margin = min(margin, np.abs(weights).min())
        z = weights @ corners[:, 2]
        if weights.min() >= 0:
            margin = min(margin, abs(z - depth))
            if z > depth:
                best, depth = number, z
    return best, margin


def test_every_sample_belongs_to_the_nearest_triangle_that_contains_it() -> None:
    points, triangles = _soup()
    found = rasterise(points, triangles, HEIGHT, WIDTH)
    compared = 0
    for y in range(HEIGHT):
        for x in range(WIDTH):
            expected, margin = _nearest(points, triangles, x + 0.5, y + 0.5)
            if margin > 1e-4:
                compared += 1
                assert found.owner[y, x] == expected
    assert compared > 0.9 * HEIGHT * WIDTH
    assert (found.owner >= 0).any()


def test_what_a_picture_shows_of_each_material_is_counted_sample_by_sample() -> None:
    points, triangles = _soup(12)
    found = rasterise(points, triangles, HEIGHT, WIDTH)
    materials = np.arange(12) % 3 + 1
    # Each triangle lies in the row of the atlas that holds its material.
    uv = np.repeat(np.stack([np.full(12, 0.5), (materials - 0.5) / 3], 1), 3, 0).astype(np.float32)
    atlas = np.zeros((24, 8, 3), np.uint8)
    labels = np.repeat(np.array([1, 2, 3], np.uint8), 8)[:, None].repeat(8, 1)
    _, drawn = shade(found, triangles, np.ones((36, 3), np.float32), uv, atlas, labels, 2)
    for material in (1, 2, 3):
        owners = [t for t in range(12) if materials[t] == material]
        assert (drawn == material).sum() == sum(int((found.owner == t).sum()) for t in owners) > 0
    assert (drawn == 0).sum() == (found.owner < 0).sum()


def test_a_pixel_is_the_mean_of_its_samples_in_linear_light() -> None:
    # A triangle that covers the left half of a two by two picture of four samples a side each.
    points = np.array([[-9, -9, 0], [2, -9, 0], [2, 99, 0], [-9, -9, 0], [2, 99, 0], [-9, 99, 0]], np.float32)
    triangles = np.array([[0, 1, 2], [3, 4, 5]], np.int32)
    found = rasterise(points, triangles, 4, 4)
    atlas = np.full((4, 4, 3), 200, np.uint8)
    light = np.full((6, 3), 0.5, np.float32)
    image, _ = shade(
        found, triangles, light, np.full((6, 2), 0.5, np.float32), atlas, np.ones((4, 4), np.uint8), 4
    )
    np.testing.assert_allclose(image[0, 0], [*[0.5 * 0.5 * LINEAR[200]] * 3, 0.5], rtol=1e-5)


def test_the_shortest_arc_turns_one_direction_into_the_other_without_stretching() -> None:
    generator = np.random.default_rng(1)
    for _ in range(20):
        start, end = generator.normal(size=(2, 3))
        turn = shortest_arc(start, end)
        np.testing.assert_allclose(
            turn @ (start / np.linalg.norm(start)), end / np.linalg.norm(end), atol=1e-9
        )
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)
        axis = np.cross(start, end)
        np.testing.assert_allclose(turn @ axis, axis, atol=1e-9)


def test_a_vertex_is_moved_by_the_weighted_mean_of_its_bones() -> None:
    generator = np.random.default_rng(2)
    rest = generator.normal(size=(7, 3)).astype(np.float32)
    bones = generator.integers(0, 4, (7, 5)).astype(np.int32)
    weights = generator.dirichlet(np.ones(5), 7).astype(np.float32)
    matrices = generator.normal(size=(4, 3, 4))
    out = np.empty_like(rest)
    skin(rest, bones, weights, matrices, 0.7, out)
    turn = np.array([[np.cos(0.7), 0, np.sin(0.7)], [0, 1, 0], [-np.sin(0.7), 0, np.cos(0.7)]])
    for i in range(7):
        moved = sum(weights[i, j] * matrices[bones[i, j]] @ np.append(rest[i], 1) for j in range(5))
        np.testing.assert_allclose(out[i], 0.1 * turn @ moved, rtol=1e-4, atol=1e-6)
