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
setInterval(follow, 100);
