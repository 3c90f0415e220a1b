// Mouse, fingers and keys.

const KEYS = [
  ["drag", "turn"],
  ["right or Shift drag, two fingers", "move"],
  ["wheel, pinch", "nearer, farther"],
  ["double click", "turn around that place"],
  ["arrow keys, + and -", "turn, nearer, farther"],
  ["[ and ]", "training view before, after"],
  ["1 to 4", "colour, depth, normals, accumulation"],
  ["T", "turntable"],
  ["R", "first view"],
  ["P, F", "save picture, field file"],
];

/** Makes an element turn, move and zoom a view; change() is called afterwards, aim(x, y) on double clicks. */
function followGestures(element, view, { change, aim }) {
  const pointers = new Map();
  const spread = () => {
    const [a, b] = [...pointers.values()];
    return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, size: Math.max(Math.hypot(a.x - b.x, a.y - b.y), 1) };
  };
  element.addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    element.setPointerCapture(event.pointerId);
    element.focus({ preventScroll: true });
    view.moving = null;
  });
  element.addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    if (!last) return;
    const height = element.clientHeight;
    const here = { x: event.clientX, y: event.clientY };
    const [across, along] = [here.x - last.x, here.y - last.y];
    if (pointers.size === 1) {
      pointers.set(event.pointerId, here);
      if (event.shiftKey || event.buttons & 6) view.pan(across / height, along / height);
      else view.orbit((-4 * across) / height, (-4 * along) / height);
    } else if (pointers.size === 2) {
      const before = spread();
      pointers.set(event.pointerId, here);
      const after = spread();
      view.dolly(before.size / after.size);
      view.pan((after.x - before.x) / height, (after.y - before.y) / height);
    }
    change();
  });
  for (const name of ["pointerup", "pointercancel"]) {
    element.addEventListener(name, (event) => pointers.delete(event.pointerId));
  }
  element.addEventListener("contextmenu", (event) => event.preventDefault());
  element.addEventListener("dblclick", (event) => aim(event.clientX, event.clientY));
  element.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 16 : 1;
      view.moving = null;
      view.dolly(Math.exp(Math.min(Math.max(event.deltaY * lines, -200), 200) * 0.0015));
      change();
    },
    { passive: false }
  );
}

/** Calls what keys stand for: `actions` by key. */
function followKeys(view, change, actions) {
  const moves = {
    ArrowLeft: () => view.orbit(-0.08, 0),
    ArrowRight: () => view.orbit(0.08, 0),
    ArrowUp: () => view.orbit(0, -0.08),
    ArrowDown: () => view.orbit(0, 0.08),
    "+": () => view.dolly(0.92),
    "=": () => view.dolly(0.92),
    "-": () => view.dolly(1 / 0.92),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "INPUT") return;
    const move = moves[event.key];
    if (move) {
      view.moving = null;
      move();
      change();
    }
    const action = actions[event.key.toLowerCase()];
    if (action) action();
    if (move || action) event.preventDefault();
  });
}
