"use strict";
// The switch of light and dark, copying a fix, and evidence that stands open on paper.
(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const order = ["auto", "light", "dark"];
  const show = theme => {
    if (theme === "auto") delete root.dataset.theme;
    else root.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
  };
  let theme = "auto";
  try {
    theme = localStorage.getItem("svcdoctor-theme") || theme;
  } catch {}
  show(order.includes(theme) ? theme : "auto");
  button.hidden = false;
  button.addEventListener("click", () => {
    theme = order[(order.indexOf(theme) + 1) % order.length];
    show(theme);
    try {
      localStorage.setItem("svcdoctor-theme", theme);
    } catch {}
  });

  const copy = async (trigger, code) => {
    let said = "Copied";
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {
      getSelection().selectAllChildren(code);
      said = "Selected";
    }
    trigger.textContent = said;
    setTimeout(() => (trigger.textContent = "Copy"), 1500);
  };
  document.addEventListener("click", event => {
    const trigger = event.target.closest("button.copy");
    if (trigger) copy(trigger, trigger.closest(".fix").querySelector("code"));
  });
  for (const trigger of document.querySelectorAll("button.copy")) trigger.hidden = false;

  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details.evidence:not([open]),details.finding:not([open])")];
    for (const details of opened) details.open = true;
  });
  addEventListener("afterprint", () => {
    for (const details of opened) details.open = false;
  });
})();
