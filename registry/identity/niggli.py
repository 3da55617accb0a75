"""The Niggli-reduced lattice, the very basis that pymatgen takes, a hundred times faster.

Which of the equivalent bases is taken matters where answers lie at a tolerance of the matcher. So each step is
pymatgen's (`Lattice.get_niggli_reduced_lattice`, after Grosse-Kunstleve, Sauter & Adams, Acta Cryst. A 60, 1, 2004),
down to the order in which it looks through the lattice for vectors of the reduced lengths.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from registry.compiled import entry_point, inner
from registry.crystal import Floats

TOLERANCE = 1e-5  # of the cube root of the volume
MOST_STEPS = 100
FLAT = 1e-9
MOST_POINTS = 1e7
ANGLE = 1.0  # degrees: pymatgen takes a basis within this, so that angles near 90 may come out on its other side


@entry_point
def niggli_basis(lattice: Floats) -> Floats:
    """(3, 3) rows in angstrom; zeros where no reduced basis is found, where pymatgen raises ValueError."""
    edge = TOLERANCE * abs(triple_product(lattice)) ** (1 / 3)
    if not edge > FLAT * max(scalar_product(lattice[0], lattice[0]), scalar_product(lattice[1], lattice[1])) ** 0.5:
        return np.zeros((3, 3))
    metric = _reduced_metric(lll_reduced(lattice), edge)
    return _basis_of(lattice, metric, edge)


@inner
def scalar_product(one: Floats, other: Floats) -> float:
    return float(one[0] * other[0] + one[1] * other[1] + one[2] * other[2])


@inner
def triple_product(rows: Floats) -> float:
    a, b, c = rows[0], rows[1], rows[2]
    return float(
        a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0]) + a[2] * (b[0] * c[1] - b[1] * c[0])
    )


@inner
def lll_reduced(lattice: Floats) -> Floats:
    """Lenstra, Lenstra & Lovasz, delta = 0.75."""
    basis = lattice.copy()
    k = 1
    for _ in range(10 * MOST_STEPS):
        if k == 3:
            break
        coefficients, squares = _gram_schmidt(basis)
        for i in range(k - 1, -1, -1):
            factor = np.rint(coefficients[k, i])
            for axis in range(3):
                basis[k, axis] -= factor * basis[i, axis]
            for j in range(i):
                coefficients[k, j] -= factor * coefficients[i, j]
            coefficients[k, i] -= factor
        if squares[k] >= (0.75 - coefficients[k, k - 1] ** 2) * squares[k - 1]:
            k += 1
        else:
            for axis in range(3):
                basis[k, axis], basis[k - 1, axis] = basis[k - 1, axis], basis[k, axis]
            k = max(1, k - 1)
    return basis


@inner
def _gram_schmidt(basis: Floats) -> tuple[Floats, Floats]:
    """Coefficients and squared lengths of the orthogonal vectors."""
    orthogonal, coefficients, squares = basis.copy(), np.zeros((3, 3)), np.zeros(3)
    for i in range(3):
        for j in range(i):
            coefficients[i, j] = scalar_product(basis[i], orthogonal[j]) / squares[j]
        for j in range(i):
            for axis in range(3):
                orthogonal[i, axis] -= coefficients[i, j] * orthogonal[j, axis]
        squares[i] = scalar_product(orthogonal[i], orthogonal[i])
    return coefficients, squares


@inner
def _changed(metric: Floats, rows: tuple[int, ...]) -> None:
    """The metric in the basis whose vectors, in the old one, are the columns of a matrix of these nine numbers."""
    half = np.zeros((3, 3))
    for i in range(3):
        for j in range(3):
            half[i, j] = metric[i, 0] * rows[j] + metric[i, 1] * rows[3 + j] + metric[i, 2] * rows[6 + j]
    for i in range(3):
        for j in range(3):
            metric[i, j] = rows[i] * half[0, j] + rows[3 + i] * half[1, j] + rows[6 + i] * half[2, j]


@inner
def _sign(value: float, edge: float) -> int:
    return 0 if abs(value) < edge else (1 if value > 0 else -1)


@inner
def _sorted_axes(metric: Floats, edge: float) -> bool:
    """Steps A1 and A2; whether the second was taken, after which all begins anew."""
    if metric[1, 1] + edge < metric[0, 0] or (
        abs(metric[0, 0] - metric[1, 1]) < edge and abs(2 * metric[1, 2]) > abs(2 * metric[0, 2]) + edge
    ):
        _changed(metric, (0, -1, 0, -1, 0, 0, 0, 0, -1))
    if metric[2, 2] + edge < metric[1, 1] or (
        abs(metric[1, 1] - metric[2, 2]) < edge and abs(2 * metric[0, 2]) > abs(2 * metric[0, 1]) + edge
    ):
        _changed(metric, (-1, 0, 0, 0, 0, -1, 0, -1, 0))
        return True
    return False


@inner
def _sorted_signs(metric: Floats, edge: float) -> None:
    """Steps A3 and A4: all three angles acute, or none."""
    x, y, z = _sign(2 * metric[1, 2], edge), _sign(2 * metric[0, 2], edge), _sign(2 * metric[0, 1], edge)
    if x * y * z == 1:
        i, j, k = -1 if x == -1 else 1, -1 if y == -1 else 1, -1 if z == -1 else 1
    else:
        i, j, k = -1 if x == 1 else 1, -1 if y == 1 else 1, -1 if z == 1 else 1
        if i * j * k == -1:
            if z == 0:
                k = -1
            elif y == 0:
                j = -1
            elif x == 0:
                i = -1
    _changed(metric, (i, 0, 0, 0, j, 0, 0, 0, k))


@inner
def _shortened(metric: Floats, e: float) -> bool:
    """The first of steps A5 to A8 that applies; whether there is one."""
    a, b = metric[0, 0], metric[1, 1]
    x, y, z = 2 * metric[1, 2], 2 * metric[0, 2], 2 * metric[0, 1]
    if abs(x) > b + e or (abs(x - b) < e and z - e > 2 * y) or (abs(x + b) < e and -e > z):
        _changed(metric, (1, 0, 0, 0, 1, -1 if x > 0 else 1, 0, 0, 1))
        return True
    if abs(y) > a + e or (abs(a - y) < e and z - e > 2 * x) or (abs(a + y) < e and -e > z):
        _changed(metric, (1, 0, -1 if y > 0 else 1, 0, 1, 0, 0, 0, 1))
        return True
    if abs(z) > a + e or (abs(a - z) < e and y - e > 2 * x) or (abs(a + z) < e and -e > y):
        _changed(metric, (1, -1 if z > 0 else 1, 0, 0, 1, 0, 0, 0, 1))
        return True
    total = x + y + z + a + b
    if -e > total or abs(total) < e < z + 2 * (a + y):
        _changed(metric, (1, 0, 1, 0, 1, 1, 0, 0, 1))
        return True
    return False


@inner
def _reduced_metric(basis: Floats, edge: float) -> Floats:
    metric = np.empty((3, 3))
    for i in range(3):
        for j in range(3):
            metric[i, j] = scalar_product(basis[i], basis[j])
    for _ in range(MOST_STEPS):
        if _sorted_axes(metric, edge):
            continue
        _sorted_signs(metric, edge)
        if not _shortened(metric, edge):
            break
    return metric


@inner
def _degrees(product: float, lengths: float) -> float:
    return float(np.degrees(np.arccos(min(1.0, max(-1.0, product / lengths)))))


@inner
def _basis_of(lattice: Floats, metric: Floats, edge: float) -> Floats:
    """The first right-handed basis of the lattice with this metric; else the first left-handed one; zeros: none.

    The basis that is returned is right-handed in space.
    """
    goals, cosines = np.empty(3), np.empty(3)
    for i in range(3):
        goals[i] = np.sqrt(metric[i, i])
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        cosines[i] = metric[j, k] / (goals[j] * goals[k])
    points, vectors, lengths = _points_in_order(lattice, max(goals[0], goals[1], goals[2]) * (1 + edge))
    found = np.zeros((3, 3))
    for first in _as_long(lengths, goals[0], edge):
        for second in _as_long(lengths, goals[1], edge):
            if not _same_angle(vectors, lengths, first, second, cosines[2]):
                continue
            for third in _as_long(lengths, goals[2], edge):
                if _same_angle(vectors, lengths, second, third, cosines[0]) and _same_angle(
                    vectors, lengths, first, third, cosines[1]
                ):
                    turn = triple_product(_rows(points, first, second, third))
                    if turn > 0.5:
                        return _right_handed(_rows(vectors, first, second, third))
                    if turn < -0.5 and triple_product(found) == 0:
                        found = _rows(vectors, first, second, third)
    return _right_handed(found)


@inner
def _rows(table: Floats, first: int, second: int, third: int) -> Floats:
    rows = np.empty((3, 3))
    for axis in range(3):
        rows[0, axis], rows[1, axis], rows[2, axis] = table[first, axis], table[second, axis], table[third, axis]
    return rows


@inner
def _right_handed(basis: Floats) -> Floats:
    if triple_product(basis) < 0:
        for i in range(3):
            for axis in range(3):
                basis[i, axis] = -basis[i, axis]
    return basis


@inner
def _as_long(lengths: Floats, goal: float, edge: float) -> NDArray[np.int64]:
    found, count = np.empty(len(lengths), np.int64), 0
    for index in range(len(lengths)):
        found[count] = index
        count += 1 / (1 + edge) < lengths[index] / goal < 1 + edge
    return found[:count]


@inner
def _same_angle(vectors: Floats, lengths: Floats, one: int, other: int, cosine: float) -> bool:
    product = scalar_product(vectors[one], vectors[other])
    return abs(_degrees(product, lengths[one] * lengths[other]) - _degrees(cosine, 1.0)) <= ANGLE


@inner
def _spans(lattice: Floats, radius: float) -> Floats:
    """How many planes of the lattice a sphere reaches, either way along each axis."""
    spans = np.empty(3)
    volume = abs(triple_product(lattice))
    for i in range(3):
        b, c = lattice[(i + 1) % 3], lattice[(i + 2) % 3]
        x, y, z = b[1] * c[2] - b[2] * c[1], b[2] * c[0] - b[0] * c[2], b[0] * c[1] - b[1] * c[0]
        spans[i] = np.ceil((radius + 0.15) * np.sqrt(x * x + y * y + z * z) / volume)
    return spans


@inner
def _points_within(lattice: Floats, radius: float) -> Floats:
    """(m, 3) whole-number points of the lattice within a sphere, in ascending order."""
    spans = _spans(lattice, radius)
    points = np.empty((int(min(MOST_POINTS, (2 * spans[0] + 1) * (2 * spans[1] + 1) * (2 * spans[2] + 1))), 3))
    vector = np.empty(3)
    count = 0
    for i in range(-int(spans[0]), int(spans[0]) + 1):
        for j in range(-int(spans[1]), int(spans[1]) + 1):
            for k in range(-int(spans[2]), int(spans[2]) + 1):
                for axis in range(3):
                    vector[axis] = i * lattice[0, axis] + j * lattice[1, axis] + k * lattice[2, axis]
                if count < len(points) and scalar_product(vector, vector) < radius * radius + 1e-8:
                    points[count, 0], points[count, 1], points[count, 2] = i, j, k
                    count += 1
    return points[:count]


@inner
def _points_in_order(lattice: Floats, radius: float) -> tuple[Floats, Floats, Floats]:
    """Whole-number points within a sphere, their vectors and lengths, as `find_points_in_spheres` orders them.

    It sorts them into 27 cubes as wide as the sphere's radius, and goes backwards through each.
    """
    points = _points_within(lattice, radius)
    vectors, cubes = np.zeros_like(points), np.zeros(len(points))
    for index in range(len(points)):
        for axis in range(3):
            for row in range(3):
                vectors[index, axis] += points[index, row] * lattice[row, axis]
            cubes[index] = 3 * cubes[index] + np.floor((vectors[index, axis] + radius + 2e-8) / radius)
    order = np.empty(len(points), np.int64)
    filled = 0
    for cube in range(27):
        for index in range(len(points) - 1, -1, -1):
            if cubes[index] == cube:
                order[filled] = index
                filled += 1
    order = order[:filled]
    lengths = np.empty(filled)
    for index in range(filled):
        lengths[index] = np.sqrt(scalar_product(vectors[order[index]], vectors[order[index]]))
    return points[order], vectors[order], lengths
