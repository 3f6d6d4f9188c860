# SPDX-License-Identifier: Apache-2.0
"""Reads what abidw writes and prints a line for each part of the shape of tornado's types: size, base
classes, data members with their offsets, virtual functions with their places, enumerators."""

import sys
import xml.etree.ElementTree as ElementTree

dump = ElementTree.parse(sys.stdin).getroot()
names = {node.get("id"): node.get("name") for node in dump.iter("class-decl")}
lines = set()


def shape(node, name):
    size = node.get("size-in-bits")
    if size:
        lines.add(f"{name}: {int(size) // 8} bytes")
    for part in node:
        offset = part.get("layout-offset-in-bits")
        if part.tag == "base-class":
            lines.add(f"{name}: base {names[part.get('type-id')]} at {int(offset) // 8}")
        elif part.tag == "data-member" and offset:
            lines.add(f"{name}: {part[0].get('name')} at {int(offset) // 8}")
        elif part.tag == "member-function" and part.get("vtable-offset"):
            lines.add(f"{name}: virtual {part.get('vtable-offset')} {part[0].get('name')}")
        elif part.tag == "member-type":
            walk(part, name)
        elif part.tag == "enumerator":
            lines.add(f"{name}: {part.get('name')} = {part.get('value')}")


def walk(node, scope):
    for child in node:
        name = f"{scope}::{child.get('name')}" if scope else child.get("name", "")
        if child.tag == "abi-instr":
            walk(child, scope)
        elif child.tag == "namespace-decl" and name.startswith("tornado"):
            walk(child, name)
        elif child.tag in ("class-decl", "union-decl", "enum-decl") and scope:
            if child.get("is-declaration-only") != "yes":
                shape(child, name)


walk(dump, "")
print(*sorted(lines), sep="\n")
