"""A preprocessor of mdBook: marks Mermaid diagrams for rendering, and rewrites links that leave the book.

A link such as ../Dockerfile works in the repository. In the book, it becomes a link to the repository, if its address is known, else the path of the
file in parentheses.
"""

import html
import json
import posixpath
import re
import sys

README, INDEX = re.compile(r"(^|/)README[.]md$"), r"\1index.md"
FENCE = re.compile(r"^ *```")
LINK = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")


def rewrite_link(match, page, url):
    text, target = match.groups()
    if "://" in target or target.startswith(("#", "mailto:")):
        return match.group(0)
    path, hash_sign, anchor = target.partition("#")
    file = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), path))
    if file.startswith("docs/"):
        # mdBook makes index.html of README.md, and does not rewrite links to it.
        return f"[{text}]({README.sub(INDEX, path)}{hash_sign}{anchor})"
    if url:
        return f"[{text}]({url.rstrip('/')}/{file}{hash_sign}{anchor})"
    return text if file in text else f"{text} (`{file}`)"


def rewrite(content, page, url):
    lines, diagram, in_code = [], None, False
    for line in content.split("\n"):
        if diagram is not None:
            if FENCE.match(line):
                lines.append('<pre class="mermaid">' + html.escape("\n".join(diagram), quote=False) + "</pre>")
                diagram = None
            else:
                diagram.append(line)
        elif line == "```mermaid":
            diagram = []
        else:
            in_code ^= bool(FENCE.match(line))
            lines.append(line if in_code else "\0" + line)
    # Outside code, links can span lines. The marks of prose lines are removed again.
    text = "\n".join(lines)
    blocks = re.split(r"((?:^|\n)(?!\0)(?:[^\n]*)(?:\n(?!\0)[^\n]*)*)", text)
    prose = [block if index % 2 else LINK.sub(lambda m: rewrite_link(m, page, url), block.replace("\0", "")) for index, block in enumerate(blocks)]
    return "".join(prose).replace("\0", "")


def rewrite_items(items, url):
    for item in items:
        chapter = item.get("Chapter") if isinstance(item, dict) else None
        if chapter:
            if chapter.get("path"):
                page = chapter.get("source_path") or chapter["path"]
                chapter["content"] = rewrite(chapter["content"], page, url)
            rewrite_items(chapter["sub_items"], url)


def main():
    if sys.argv[1:2] == ["supports"]:
        return
    context, book = json.load(sys.stdin)
    url = context["config"].get("preprocessor", {}).get("repository", {}).get("url", "")
    rewrite_items(book.get("items") or book.get("sections") or [], url)
    json.dump(book, sys.stdout)


main()
