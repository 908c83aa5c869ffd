// Renders the diagrams that book/preprocess.py marks, in the colors of the page.
const dark = ["coal", "navy", "ayu"].some((theme) => document.documentElement.classList.contains(theme));
mermaid.initialize({ startOnLoad: true, securityLevel: "loose", theme: dark ? "dark" : "default" });
