// Clicks on the timeline move the player, and the player moves the line on the timeline.
const player = () => document.querySelector("#sfz-video video");
const seek = (seconds) => {
  const video = player();
  if (video) video.currentTime = Math.max(0, seconds);
};
const clicked = (event) => {
  const track = event.target.closest(".sfz-track");
  const row = event.target.closest("[data-seconds]");
  if (track) {
    const box = track.getBoundingClientRect();
    seek(((event.clientX - box.left) / box.width) * Number(track.dataset.duration));
  } else if (row) {
    seek(Number(row.dataset.seconds));
  }
};
element.addEventListener("click", clicked);
element.addEventListener("keydown", (event) => {
  const row = event.target.closest("[data-seconds]");
  if (row && (event.key === "Enter" || event.key === " ")) {
    event.preventDefault();
    seek(Number(row.dataset.seconds));
  }
});
const follow = () => {
  const video = player();
  for (const head of element.querySelectorAll(".sfz-head")) {
    const duration = Number(head.parentElement.dataset.duration);
    head.style.left = video ? `${Math.min(100, (100 * video.currentTime) / duration)}%` : "0";
    head.style.visibility = video ? "visible" : "hidden";
  }
};
// Boxes of the nearest key frame, over the player's picture, which may be narrower than the player.
let told = "";
let keys = [];
let persons = [];
const draw = () => {
  const video = player();
  const source = element.querySelector(".sfz-persons");
  let layer = document.querySelector(".sfz-boxes");
  if (!video || !source || !video.videoWidth) {
    if (layer) layer.remove();
    return;
  }
  if (source.dataset.keys + source.dataset.persons !== told) {
    told = source.dataset.keys + source.dataset.persons;
    keys = JSON.parse(source.dataset.keys);
    persons = JSON.parse(source.dataset.persons);
  }
  const stage = video.parentElement;
  if (!layer || layer.parentElement !== stage) {
    if (layer) layer.remove();
    layer = document.createElement("div");
    layer.className = "sfz-boxes";
    stage.append(layer);
  }
  if (getComputedStyle(stage).position === "static") stage.style.position = "relative";
  const outer = stage.getBoundingClientRect();
  const inner = video.getBoundingClientRect();
  const scale = Math.min(inner.width / video.videoWidth, inner.height / video.videoHeight);
  const [width, height] = [video.videoWidth * scale, video.videoHeight * scale];
  const left = inner.left - outer.left + (inner.width - width) / 2;
  const top = inner.top - outer.top + (inner.height - height) / 2;
  const distance = (key) => Math.abs(key - video.currentTime);
  const nearest = keys.reduce((best, key) => (distance(key) < distance(best) ? key : best), Infinity);
  const shown = distance(nearest) <= 1 ? persons.filter((person) => person.seconds === nearest) : [];
  layer.replaceChildren(
    ...shown.map((person) => {
      const [x1, y1, x2, y2] = person.box;
      const frame = document.createElement("div");
      frame.style.cssText = `left:${left + x1 * width}px;top:${top + y1 * height}px;` +
        `width:${(x2 - x1) * width}px;height:${(y2 - y1) * height}px`;
      const text = document.createElement("span");
      text.textContent = person.text;
      frame.append(text);
      return frame;
    }),
  );
};
setInterval(() => { follow(); draw(); }, 100);
