// What the page says about the field. Texts of a field file are a stranger's: they are set as text, never as markup.

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const name in attributes) made.setAttribute(name, attributes[name]);
  return made;
}

const counted = (value) => Math.round(value).toLocaleString("en");

/** 12,345 as 12.3 thousand, in words that units begin with: 12.3 k. */
function short(value) {
  const powers = ["", "k", "M", "G", "T"];
  const power = Math.min(Math.max(Math.floor(Math.log10(Math.max(value, 1)) / 3), 0), 4);
  const scaledDown = value / 1000 ** power;
  return `${scaledDown >= 100 || power === 0 ? Math.round(scaledDown) : scaledDown.toFixed(scaledDown < 10 ? 2 : 1)} ${powers[power]}`;
}

/** Pairs of a name and a text. */
function factsOf(field) {
  const { scene, kind, shader, grid } = field;
  const [each, more] = shader.multiplications;
  const facts = [
    ["File", `${counted(field.size)} bytes`],
    ["Field", kind === "distance" ? "signed distance" : `density and colour${{ planes: ", of feature planes", mipnerf: ", of cones" }[kind] || ""}`],
    ["Layers", scene.layer],
    ["Training", `${scene.method}, ${counted(scene.step)} steps`],
    ["Products", more ? `${counted(each)} per sample, ${counted(more)} for its colour` : `${counted(each)} per sample`],
  ];
  facts.push(["Numbers", `${counted(field.stored)}, ${((8 * field.size) / field.stored).toFixed(1)} bits each in the file`]);
  if (grid) facts.push(["Occupied", `${((100 * grid.gaps.filter((gap) => gap === 0).length) / grid.gaps.length).toFixed(1)} % of ${grid.resolution}³ cells`]);
  const { psnr_before: before, psnr_after: after, psnr_of_change: change, distance_change: shift, on } = scene.measured;
  if (after !== undefined) facts.push(["PSNR", `${after.toFixed(2)} dB${before === undefined ? "" : `, ${before.toFixed(2)} dB before storing`}${on ? `, on ${on}` : ""}`]);
  else if (change !== undefined) facts.push(["Stored", `${change.toFixed(1)} dB from the original${on ? `, on ${on}` : ""}`]);
  if (shift !== undefined) facts.push(["Stored", `${(1000 * shift).toFixed(2)} mm from the original${on ? `, on ${on}` : ""}`]);
  return facts;
}

function showFacts(list, pairs) {
  list.replaceChildren(...pairs.flatMap(([name, text]) => [element("dt", name), element("dd", text)]));
}

/** Offers bytes or a blob as a download. */
function save(content, name, type) {
  const link = element("a", "", { href: URL.createObjectURL(new Blob([content], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** A name for files out of a text that may have anything in it. */
function fileName(text) {
  return text.replace(/[^\p{L}\p{N} ._-]+/gu, "_").trim().replace(/^\.+/, "") || "field";
}
