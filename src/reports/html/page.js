"use strict";
(() => {
  const id = (name) => document.getElementById(name);
  const items = Array.from(document.querySelectorAll("article"), (element) => ({
    element,
    level: element.dataset.level,
    namespace: element.dataset.namespace,
    text: element.textContent.toLowerCase(),
  }));

  const filter = () => {
    const words = id("text").value.toLowerCase().split(/\s+/).filter(Boolean);
    const level = id("verdict").value;
    const namespace = id("namespace").value;
    let shown = 0;
    for (const item of items) {
      const matches = (!level || item.level === level) && (!namespace || item.namespace === namespace)
        && words.every((word) => item.text.includes(word));
      item.element.hidden = !matches;
      shown += matches ? 1 : 0;
    }
    id("shown").value = shown === items.length ? `${shown} shown` : `${shown} of ${items.length} shown`;
    if (id("none")) id("none").hidden = shown > 0;
  };
  id("filter").addEventListener("input", filter);
  id("filter").addEventListener("submit", (event) => event.preventDefault());
  id("filter").hidden = false;
  filter();

  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      const copied = document.execCommand("copy");
      area.remove();
      return copied;
    }
  };
  for (const button of document.querySelectorAll(".copy")) button.hidden = false;
  id("items").addEventListener("click", async (event) => {
    const button = event.target.closest(".copy");
    if (!button) return;
    const copied = await copy(button.parentElement.querySelector("code").textContent);
    button.textContent = copied ? "Copied" : "Select and copy the text";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });

  const themes = [["", "as the system"], ["light", "light"], ["dark", "dark"]];
  let theme = 0;
  id("theme").hidden = false;
  id("theme").addEventListener("click", () => {
    theme = (theme + 1) % themes.length;
    const [name, label] = themes[theme];
    if (name) document.documentElement.dataset.theme = name;
    else delete document.documentElement.dataset.theme;
    id("theme").textContent = `Colors: ${label}`;
  });
})();
