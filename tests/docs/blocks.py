# SPDX-License-Identifier: MIT
"""Finds the blocks of code in Markdown, manual pages and the header, and tells of what kind they are."""

import re
from dataclasses import dataclass, field


@dataclass
class Block:
    path: str  # below the root of the project
    line: int
    section: str
    kind: str  # c, cpp, python, console, sh, ini, cmake, text, prototypes
    text: str
    mark: str = ""  # of a comment <!-- test: ... --> in front of it

    @property
    def where(self):
        return f"{self.path}:{self.line}"

    @property
    def name(self):
        """The file that the first line names in a comment, if it does."""
        found = re.match(r"(?:/\*|//|#|;) ([\w.-]+\.\w+)\b", self.text)
        return found.group(1) if found else None

    @property
    def is_program(self):
        return self.kind in ("c", "cpp") and bool(re.search(r"^int main\(", self.text, re.M))

    @property
    def is_unit(self):
        """A file that is compiled by itself: a program, or a part of one that has its own includes."""
        part = self.kind == "c" and self.name and "#include" in self.text
        return self.is_program or self.kind == "cpp" or bool(part)


@dataclass
class Section:
    path: str
    title: str
    blocks: list = field(default_factory=list)

    def of_kind(self, *kinds):
        return [block for block in self.blocks if block.kind in kinds]


INFO = {"c": "c", "cpp": "cpp", "python": "python", "console": "console", "sh": "sh", "ini": "ini",
        "cmake": "cmake", "text": "text"}


def guess(path, text):
    """The kind of a block that does not say it: an indented one, or one of a manual page."""
    first = text.split("\n", 1)[0]
    if re.match(r"// [\w.-]+\.cpp\b", first):
        return "cpp"
    if first.startswith("$ "):
        return "console"
    if first.startswith("find_package("):
        return "cmake"
    if path.startswith("python/") and not re.match(r"sudo |python3 ", first):
        return "python"
    if re.search(r";\s*(?://.*|/\*.*)?$|^[{}]", text, re.M):
        return "c"
    return "sh"


def dedent(lines):
    return "".join(line[4:] if line.startswith("    ") else line for line in lines).rstrip("\n") + "\n"


def markdown(path, text):
    blocks, lines = [], text.splitlines(keepends=True)
    section, mark, number = "", "", 0
    while number < len(lines):
        line = lines[number]
        begin = number + 1
        fence = re.match(r"```(\w*)", line)
        if fence:
            end = next((i for i in range(begin, len(lines)) if lines[i].startswith("```")), None)
            if end is None or fence.group(1) not in INFO:
                raise ValueError(f"{path}:{begin}: a block without an end, or of an unknown kind: {line.strip()}")
            blocks.append(Block(path, begin, section, INFO[fence.group(1)], "".join(lines[begin:end]), mark))
            number = end
        elif line.startswith("    ") and (number == 0 or not lines[number - 1].strip()) and not in_list(lines, number):
            end = begin
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            body = dedent(lines[number:end])
            blocks.append(Block(path, begin, section, guess(path, body), body, mark))
            number = end - 1
        elif line.startswith("## "):
            section = line[3:].strip()
        comment = re.match(r"<!-- test: (.*) -->", line)
        if comment:
            mark = comment.group(1)
        elif line.strip():
            mark = ""
        number += 1
    return blocks


def in_list(lines, number):
    """Whether the paragraph in front is an item of a list, which this one goes on with."""
    for line in reversed(lines[:number]):
        if line.strip() and not line.startswith("    "):
            return bool(re.match(r"\s*([-*]|\d+\.) |  ", line))
    return False


def unescape(line):
    return line.replace("\\e", "\\").replace("\\-", "-").replace("\\(aq", "'").replace("\\&", "")


def manual(path, text):
    """What stands between .EX and .EE, or .nf and .fi. Where only requests stand between two of the
    former, they are one block: a page may break there and nowhere else."""
    blocks, lines = [], text.splitlines()
    section, current, begin, joins = "", None, 0, False
    for number, line in enumerate(lines, 1):
        if line.startswith(".SH "):
            section = line[4:].strip('"')
        if line in (".EX", ".nf"):
            current, begin = [], number
        elif line in (".EE", ".fi") and current is not None:
            body = [unescape(each) for each in current]
            if joins and line == ".EE":
                blocks[-1].text += "\n" + "\n".join(body) + "\n"
            elif body and all(each.startswith(".B ") or each == ".PP" for each in body):
                declared = "\n".join(each[3:].strip('"') for each in body if each != ".PP")
                blocks.append(Block(path, begin, section, "prototypes", declared + "\n"))
            elif body:
                shown = dedent([each + "\n" for each in body if not each.startswith(".")])
                blocks.append(Block(path, begin, section, "", shown))
            current, joins = None, line == ".EE"
        elif current is not None:
            current.append(line)
        elif not line.startswith("."):
            joins = False
    for block in blocks:
        if block.kind != "prototypes":
            block.kind = guess(path, block.text)
    return blocks


def header(path, text):
    blocks, current, begin = [], [], 0
    for number, line in enumerate([*text.splitlines(), ""], 1):
        if line.startswith(" *\t"):
            begin = begin or number
            current.append(line[3:] + "\n")
        elif current and line.strip() == "*":
            current.append("\n")
        elif current:
            body = "".join(current).rstrip("\n") + "\n"
            blocks.append(Block(path, begin, "", guess(path, body), body))
            current, begin = [], 0
    return blocks


def find(root, path):
    with open(f"{root}/{path}", encoding="utf-8") as file:
        text = file.read()
    if path.endswith(".md"):
        return markdown(path, text)
    return header(path, text) if path.endswith(".h") else manual(path, text)


def sections(blocks):
    found = []
    for block in blocks:
        if not found or found[-1].title != block.section:
            found.append(Section(block.path, block.section))
        found[-1].blocks.append(block)
    return found
