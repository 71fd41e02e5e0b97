// A button copies the text behind it; where the browser doesn't let a page do that, it selects it.
element.addEventListener("click", async (event) => {
  const button = event.target.closest(".sfz-copy");
  if (!button) return;
  const text = button.parentElement.querySelector("pre");
  try {
    await navigator.clipboard.writeText(text.textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  } catch {
    getSelection().selectAllChildren(text);
  }
});
