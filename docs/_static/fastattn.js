// What scrolls sideways can be reached, and so scrolled, by the keyboard.
addEventListener("DOMContentLoaded", () => {
  for (const each of document.querySelectorAll("pre, .table-wrapper, .cell_output, div.math")) {
    if (each.scrollWidth > each.clientWidth) each.tabIndex = 0;
  }
});
