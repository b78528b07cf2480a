/* Runs before the first paint so that a stored choice of colours does not flash. */
"use strict";
(() => {
  let chosen = "";
  try { chosen = localStorage.getItem("causeway-theme") || ""; } catch { /* storage is off: follow the system */ }
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
  document.documentElement.classList.add("script");
})();
