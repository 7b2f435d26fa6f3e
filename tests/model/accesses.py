#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Prints the labelled accesses of db.c (its path is the argument), in their order: the function, the
operation, the word in memory, the labels. db.pml holds the same list; model.sh compares the two."""
import re
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    source = file.read()
functions = [(m.start(), m[1]) for m in re.finditer(r"^[a-z].*\b(\w+)\((?!\()[^;{]*\)\n\{", source, re.M)]
# From the call to the labels in the comment of the same statement.
for m in re.finditer(
    r"(?:atomic_(\w+?)(?:_weak)?_explicit|(barrier)_on_writers)\(((?:[^;{}]|;(?= /\*))*?)/\*((?: [A-Z][0-9])+)",
    source,
):
    function = [name for start, name in functions if start < m.start()][-1]
    word = re.search(r"->(\w+),", m[3])
    print(function, m[1] or m[2], word[1] if word else "writers", m[4].strip())
