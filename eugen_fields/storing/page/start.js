// Unpacks the program of the page, which is in it as the base64 of its gzip, and runs it.

(async () => {
  try {
    const packed = Uint8Array.from(atob(document.getElementById("program").textContent), (character) => character.charCodeAt(0));
    const plain = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(plain).text();
    document.body.append(script);
  } catch (error) {
    const message = document.getElementById("message");
    message.textContent = "This browser is too old to unpack the page. Browsers from 2023 on can: please update it.";
    message.hidden = false;
    document.body.className = "stopped";
  }
})();
