// The occupancy grid, as how far each of its cells is from what is occupied.

/**
 * { resolution, gaps, bounds } of a field of density. gaps[(z R + y) R + x]: cells to the nearest occupied one, the largest
 * of the three axes, 0 where the cell itself is. bounds: the box around all that are occupied, in the scene.
 */
function readGrid(scene, arrays) {
  const resolution = scene.grid_resolution;
  const occupied = bitsOf(arrays, "grid", resolution ** 3);
  const lowest = [resolution, resolution, resolution];
  const highest = [-1, -1, -1];
  const gaps = new Uint8Array(resolution ** 3).fill(255);
  for (let x = 0, i = 0; x < resolution; x++) {
    for (let y = 0; y < resolution; y++) {
      for (let z = 0; z < resolution; z++, i++) {
        if (!occupied[i]) continue;
        gaps[(z * resolution + y) * resolution + x] = 0;
        [x, y, z].forEach((cell, axis) => {
          lowest[axis] = Math.min(lowest[axis], cell);
          highest[axis] = Math.max(highest[axis], cell);
        });
      }
    }
  }
  require(highest[0] >= 0, "no cell of its grid is occupied");
  spread(gaps, resolution, 1);
  spread(gaps, resolution, -1);
  const [low, high] = scene.aabb;
  const corner = (cells, axis) => low[axis] + (cells[axis] * (high[axis] - low[axis])) / resolution;
  const bounds = [[0, 1, 2].map((axis) => corner(lowest, axis)), [0, 1, 2].map((axis) => corner(highest.map((cell) => cell + 1), axis))];
  return { resolution, gaps, bounds };
}

/** One of the two sweeps of a distance transform: each cell is one further than the nearest of the 13 before it. */
function spread(gaps, resolution, direction) {
  const order = Array.from({ length: resolution }, (_, i) => (direction > 0 ? i : resolution - 1 - i));
  for (const z of order) {
    for (const y of order) {
      for (const x of order) {
        const here = (z * resolution + y) * resolution + x;
        let least = gaps[here];
        if (least === 0) continue;
        for (let neighbour = 0; neighbour < 13; neighbour++) {
          const dx = (neighbour % 3) - 1;
          const dy = (Math.floor(neighbour / 3) % 3) - 1;
          const dz = Math.floor(neighbour / 9) - 1;
          const [nx, ny, nz] = [x + direction * dx, y + direction * dy, z + direction * dz];
          if (nx < 0 || ny < 0 || nz < 0 || nx >= resolution || ny >= resolution || nz >= resolution) continue;
          least = Math.min(least, gaps[(nz * resolution + ny) * resolution + nx] + 1);
        }
        gaps[here] = least;
      }
    }
  }
}
