"""Checks the built book: each link inside it leads to a file, and each anchor to an element with that id. If Chromium is installed, each diagram
is drawn. Exits with 1 otherwise."""

import html.parser
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.parse


class Page(html.parser.HTMLParser):
    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.diagrams = set(), [], 0
        with open(path, encoding="utf-8") as file:
            self.feed(file.read())

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids.add(attributes.get("id"))
        self.diagrams += attributes.get("class") == "mermaid"
        for name in ("href", "src"):
            if attributes.get(name):
                self.links.append(attributes[name])


def undrawn(page, count):
    """Whether Chromium draws fewer diagrams than the page has. Mermaid draws a bomb in place of a diagram that it cannot read."""
    browser = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not browser:
        return False
    with tempfile.TemporaryDirectory() as profile:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--virtual-time-budget=20000"]
        url = pathlib.Path(page).absolute().as_uri()
        command = [browser, *flags, f"--user-data-dir={profile}", "--dump-dom", url]
        dom = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    kinds = re.findall(r'<svg[^>]* aria-roledescription="([^"]*)"', dom)
    return len(kinds) != count or "error" in kinds


def main(root):
    pages, broken, count = {}, [], 0
    for folder, _, files in os.walk(root):
        for name in files:
            if name.endswith(".html"):
                path = os.path.join(folder, name)
                pages[path] = Page(path)
    for path, page in sorted(pages.items()):
        # The page of all chapters repeats them with other addresses, and 404.html is shown at any address.
        if os.path.basename(path) in ("print.html", "404.html", "toc.html"):
            continue
        for link in page.links:
            address = urllib.parse.urlsplit(link)
            if address.scheme or address.netloc:
                continue
            count += 1
            file = urllib.parse.unquote(address.path)
            target = os.path.normpath(os.path.join(os.path.dirname(path), file)) if file else path
            anchor = urllib.parse.unquote(address.fragment)
            if not os.path.exists(target):
                broken.append(f"{os.path.relpath(path, root)}: {link}: no such file")
            elif anchor and target in pages and anchor not in pages[target].ids:
                broken.append(f"{os.path.relpath(path, root)}: {link}: no such anchor")
        if page.diagrams and undrawn(path, page.diagrams):
            broken.append(f"{os.path.relpath(path, root)}: a diagram is not drawn")
    diagrams = sum(page.diagrams for path, page in pages.items() if os.path.basename(path) != "print.html")
    print(f"{len(pages)} pages, {diagrams} diagrams, {count} links, {len(broken)} broken")
    print("\n".join(broken))
    # An empty book would have no broken link either, and without the preprocessor, diagrams are code.
    return 1 if broken or len(pages) < 20 or count < 500 or diagrams < 3 else 0


sys.exit(main(sys.argv[1]))
