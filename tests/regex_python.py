#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes regex_python.tsv, what Python's re makes of patterns: tests/regex_python.py > tests/regex_python.tsv

A line is a pattern and, unless it is `error`, subjects with where the first match ends (`-`: there is
none), all separated by tabs. Bytes other than printable ASCII, and backslashes, are written \\xHH.
Python 3.11 or later; what 3.12 refuses, and 3.11 warns of, is an error.
"""

import random
import re
import sys
import warnings

warnings.simplefilter("error", DeprecationWarning)
warnings.simplefilter("ignore", FutureWarning)

# By hand: each with subjects of its own, besides those that all get.
CASES = [
    # literals, any byte, the ends
    ("abc", ["xabcx", "ab"]), ("", []), ("a.c", ["a\nc", "a\rc", "abc", "a\0c", "a\xffc"]),
    ("(?s)a.c", ["a\nc"]), ("(?s:a.)c.", ["a\nc\n", "a\ncx"]), ("(?-s:.)", ["\n"]), ("(?s)(?-s:.)", ["\n"]),
    (".*", ["ab\ncd"]), (".{2}", ["a\nbc"]), (".{2,3}x", ["abcx"]), (".{,2}x", ["abcx"]), (".+?", ["ab"]),
    ("a$", ["a", "a\n", "a\n\n", "ba\nb"]), ("a\\Z", ["a", "a\n"]), ("$", ["\n", "a\n", "\n\n"]),
    ("\\Z", ["a\n"]), ("(?m)a$", ["a\nb", "a", "a\n"]), ("(?m)^b", ["a\nb", "b"]), ("^b", ["a\nb", "b"]),
    ("(?m)^$", ["a\n", "\n\n", "a\n\nb"]), ("(?m)^", ["a\n"]), ("(?m)\n^", ["a\n", "\n\n"]), ("\n^", ["\n"]),
    ("(?m)\\Ab", ["a\nb"]), ("(?m)a\\Z", ["a\nb", "a\n", "a"]), ("(?m:^)b", ["a\nb"]), ("(?m)(?-m:^)b", ["a\nb"]),
    ("(?m)(?-m:a$)", ["a\nb", "a\n"]), ("a$b", ["ab"]), ("a$\n", ["a\n"]), ("a\\Z\n", ["a\n"]), ("^*", []), ("$+", []),
    ("a(?!$)", ["a", "a\n", "ab"]), ("(?!a$)a\n?", ["a\n", "a"]), ("\\z", []), ("\\G", []),
    ("\\ba", ["ba", "b a"]), ("a\\b", ["ab", "a_", "a ", "a"]), ("a\\B", ["ab", "a"]), ("\\b*", []), ("\\B\\B", ["ab"]),
    ("\\w\\b", ["a\xe9"]), ("(?a)\\w", ["\xe9"]), ("(?a:\\w)", ["\xe9", "a"]), ("(?u)a", []), ("(?u:a)", []),
    # escapes
    *[("\\" + chr(c), [chr(c), "a1 \n\v\x07\b\f\r\t"]) for c in range(33, 127)],
    *[("[\\" + chr(c) + "]", [chr(c), "a1 \n\v\x07\b\f\r\t"]) for c in range(33, 127)],
    ("\\\xe9", ["\xe9"]), ("\\\n", ["\n"]), ("\\", []), ("a\\", []), ("[\\", []), ("\\0", ["\0"]), ("\\08", ["\x008"]),
    ("\\012", ["\n"]), ("\\0123", ["\n3"]), ("\\123", ["S"]), ("\\377", ["\xff"]), ("\\400", []), ("[\\400]", []),
    ("[\\377]", ["\xff"]), ("[\\0]", ["\0"]), ("[\\08]", ["8", "\0"]), ("[\\12]", ["\n"]), ("[\\8]", []), ("\\x0a", ["\n"]),
    ("\\x0", []), ("\\x", []), ("\\x{0a}", []), ("[\\x41]", ["A"]), ("[\\x4]", []), ("\\u0041", []), ("\\N", []), ("\\h", []),
    ("\\R", []), ("\\K", []), ("\\Qa+\\E", []), ("\\v", ["\v", "\n", "\r"]), ("[\\v]", ["\v", "\n"]), ("\\s+x", [" \t\n\r\f\vx", "\x1cx", "\x85x"]),
    ("\\S+", [" a\xa0b"]), ("\\d+", ["a12", "\xb2"]), ("\\D", ["1a"]), ("\\W", ["a_1\xe9"]), ("\\cA", []), ("\\o{12}", []), ("\\pL", []), ("\\X", []), ("\\C", []),
    ("\\a\\f\\n\\r\\t\\v\\\\", ["\a\f\n\r\t\v\\"]), ("[\\b]", ["\b"]), ("[\\B]", []), ("[\\A]", []), ("[\\Z]", []),
    # brackets
    ("[[:alpha:]]", ["a]", "b]", ":]", "[]", "x]", "a"]), ("[[]", ["["]), ("[]a]+", ["]a]"]), ("[^]a]", ["]ab"]), ("[a-]", ["-"]),
    ("[-a]", ["-"]), ("[a-c-e]", ["-", "d"]), ("[a\\-c]", ["b", "-"]), ("[c-a]", []), ("[\\d-x]", []), ("[a-\\d]", []), ("[\\d-]", ["-"]),
    ("[^\\n]+", ["\nab"]), ("[^a]", ["\n"]), ("[\\s\\S]", ["\n"]), ("[^\\s\\S]", ["a"]), ("[^\\W]", ["-a"]), ("[a&&b]", ["&"]),
    ("[a--b]", ["-"]), ("[^^]", ["^a"]), ("[a^]", ["^"]), ("[", []), ("[]", []), ("[^]", []), ("[a-", []), ("[\\x00-\\xff]", ["\0"]),
    ("[.*+?|(){}$]", ["}", "x"]), ("[\\w.-]+@", ["a.b-c@"]), ("[a-z&&[^b]]", ["b]"]), ("[[=a=]]", ["=]"]), ("[[.a.]]", ["a]"]), ("[#\\s]", ["#"]),
    # quantifiers
    ("a{2}", ["aaa"]), ("a{2,}", ["aaaa"]), ("a{,2}", ["aaa"]), ("a{,}", ["aaa", "b"]), ("a{}", ["a{}"]), ("a{", ["a{"]), ("a{x}", ["a{x}"]),
    ("a{1", ["a{1"]), ("a{1,", ["a{1,"]), ("a{1,x}", ["a{1,x}"]), ("a{ 1}", ["a{ 1}", "a"]), ("a{1 }", ["a{1 }"]), ("a{3,2}", []), ("{", ["{"]), ("{}", ["{}"]), ("{1}", []),
    ("{a}", ["{a}"]), ("x{0}y", ["y"]), ("a{0,0}b", ["b"]), ("a{65535}", []), ("a{02}", ["aa"]), ("a{2}?", ["aaa"]), ("a{1,3}?", ["aaa"]), ("a{1,3}+a", ["aaaa", "aaa"]),
    ("(a+){2}+", ["aa"]), ("(?:a+|b){2}+", ["aa", "ab"]), ("(?:a+?){2}+", ["aaa"]), ("a*+a", ["aaa"]), ("a++b", ["aab"]), ("a?+a", ["a", "aa"]), ("a**", []), ("a*?", ["aa"]), ("a*??", []), ("a+*", []), ("a{2}{3}", []), ("a{2}*", []),
    ("*a", []), ("+", []), ("?", []), ("(*a)", []), ("(*UTF8)a", []), ("(*ACCEPT)", []), ("a|*", []), ("(?:)*", []), ("()*", []), ("(?:a*)*", ["aab"]),
    ("(?:a|b)*?c", ["abac"]), ("(?:a{2}){2}", ["aaaa"]), ("x*", ["xx", "y"]), ("(?=a)*b", ["ab"]), ("(?=a){2}a", ["a"]), ("(?!a)*a", ["a"]), ("(?<=a)+b", ["ab"]), ("(?=a)?a", ["a"]),
    # groups
    ("(a)(b)\\2\\1", ["abba"]), ("(?P<n>a)(?P=n)", ["aa"]), ("(?P<n>a)\\1", ["aa"]), ("(?P<n>a)(?P<n>b)", []), ("(?P<1n>a)", []), ("(?P<>a)", []),
    ("(?P<n-m>a)", []), ("(?P<n", []), ("(?P=n)", []), ("(?P=n", []), ("(?P<n>a(?P=n))", []), ("(?P>n)", []), ("(?Px)", []), ("(?P", []), ("(?P<\xe9>a)", []), ("(?P<_9>a)", ["a"]),
    ("(?<n>a)", []), ("(?'n'a)", []), ("(?|a|b)", []), ("(?&n)", []), ("(?R)", []), ("(?1)", []), ("(?+1)", []), ("(?-1)", []), ("(?C)", []), ("(?", []), ("(?)", []), ("(", []), (")", []), ("(a", []), ("a)", []),
    ("(?:a", []), ("(a)\\2", []), ("\\1(a)", []), ("(a\\1)", []), ("\\8", []), ("(a)\\10", []), ("(a)\\1a", ["aaa"]), ("(a)\\g1", []), ("(a)\\k<1>", []),
    ("(((((((((((a)))))))))))\\11", ["aa"]), ("(a)\\01", ["a\x01"]), ("(a)\\100", ["a@"]), ("(a)\\18", []),
    ("(?>a*)a", ["aaa"]), ("(?>a|ab)c", ["abc"]), ("(?>a+)b", ["aab"]), ("(a|ab)(c|bcd)(d*)", ["abcd"]), ("a|b|", ["c"]), ("|a", ["a"]), ("a||b", ["b"]), ("(|a)b", ["ab"]), ("(?:|a)+b", ["aab"]),
    ("(?#comment)a", ["a"]), ("a(?#c)*", ["aa"]), ("(?#", []), ("(?#a\\)b)", []), ("(?#a\\)b)c", []), ("a(?#)b", ["ab"]),
    ("(a)?(?(1)b|c)", ["ab", "c", "ac", "b"]), ("(?P<q>a)?(?(q)b|c)", ["ab", "c"]), ("(a)?(?(1)b)", ["ab", "c"]), ("(?(1)a|b)(c)", ["bc"]), ("(?(1)a)", []), ("(?(2)a|b)(c)", []),
    ("(?(0)a)", []), ("(?(x)a)", []), ("(a)(?(1)b|c|d)", []), ("(a)(?(1)b", []), ("(?(1", []), ("(a)(?(-1)b)", []), ("(a)(?( 1)b)", []), ("(a)(?(1_0)b)", []), ("(a)(?(+1)b)", []), ("(a)(?(01)b)", ["ab"]),
    ("(a)(?(1)|c)d", ["ad"]), ("(a)?(?(1)(?:b|c)|d)e", ["ace", "de"]), ("(?(R)a)", []), ("(?(DEFINE)a)", []), ("(?(?=a)a|b)", []), ("(a(?(1)b|c))", ["ac", "ab"]),
    # looking around
    ("a(?=b)", ["ab", "ac"]), ("a(?!b)", ["ab", "ac", "a"]), ("(?<=a)b", ["ab", "b"]), ("(?<!a)b", ["ab", "b", "cb"]), ("(?<=a|b)c", ["ac"]), ("(?<=a|bc)d", []), ("(?<=a*)b", []), ("(?<=a{2})b", ["aab", "ab"]),
    ("(?<=(?:ab|cd)e)f", ["abef"]), ("(?<=a{1,2})b", []), ("(?<=^a)b", ["ab", "cab"]), ("(?<=a$)\n", ["a\n"]), ("(?<=\\ba)b", ["ab"]), ("(a)(?<=\\1)b", ["ab"]), ("(?<=(a)\\1)b", []), ("(?<=(a))b\\1", ["aba"]),
    ("(ab?)(?<=\\1)c", []), ("(?<=(?=ab)a)b", ["ab"]), ("(?<=(?<=a)b)c", ["abc"]), ("(?<=)a", ["a"]), ("(?<!)a", ["a"]), ("(?!)", ["a"]), ("(?=)a", ["a"]), ("(?<=a", []), ("(?<a)", []), ("(?<", []), ("(?=", []), ("(?<=.)b", ["ab", "\nb"]), ("(?<=[ab]{2})c", ["abc"]), ("(?<=(?(1)a|b))c(x)?", ["bc"]), ("(a)?(?<=(?(1)a|b))c", ["ac", "bc"]),
    ("(?<=(?P<n>a)(?P=n))b", []), ("(?<=a(?#c)b)c", ["abc"]), ("(?<=a\\Z)", ["a"]),
    # flags
    ("(?i)aBc", ["AbC"]), ("(?i)[a-c]", ["B"]), ("(?i)[^a]", ["A", "b"]), ("(?i)\xe9", ["\xc9", "\xe9"]), ("(?i)k", ["K", "\x8a"]), ("(?i)(a)\\1", ["aA"]), ("(a)(?i:\\1)", ["aA"]), ("(?i:a)b", ["Ab", "AB"]), ("(?i)(?-i:a)b", ["aB", "AB"]),
    ("a(?i)b", []), ("(?i)(?m)^a", ["b\nA"]), ("a|(?i)b", []), ("((?i)a)", []), ("(?im)^a", ["b\nA"]), ("(?#c)(?i)a", ["A"]), ("(?q)a", []), ("(?i", []), ("(?i-)", []), ("(?-i)a", []), ("(?i-i:a)", []), ("(?-:a)", []), ("(?-a:a)", []), ("(?ii)a", ["A"]),
    ("(?i-s:A)", ["a"]), ("(?a-i:A)", ["a", "A"]), ("(?i)*", []), ("(?i)|A", ["a"]), ("(?i)[Z-a]", ["z", "A", "[", "b"]), ("(?i)[\\x60-\\x7b]", ["A", "@"]), ("(?^i:a)", []), ("(?J)a", []), ("(?U)a", []), ("(?xx)a b", ["ab"]), ("(?n)a", []),
    ("(?x) a b # c", ["ab"]), ("(?x)a # b\nc", ["ac"]), ("(?x)a\\ b\\#", ["a b#"]), ("(?x)[ a]b", [" b"]), ("(?x)a *", ["aa", "a a"]), ("(?x)a * ?", []), ("(?x)a {2}", ["aa"]), ("(?x)( ?:a)", []), ("(?x: a b)c d", ["abc d"]), ("(?x)(?-x: a)b c", [" abc"]),
    ("(?x)a\v\fb", ["ab"]), ("(?x)a\\\nb", ["a\nb"]), ("(?x)#\\\na", ["a"]), ("(?x) # only", ["a"]), ("(?x)a|b # c\n|d", ["d"]), (" (?x)a", []), ("(?x) (?i)a", ["A"]), ("(?x)a{1, 2}", ["a{1,2}"]),
    # lines and headers
    ("\r?\n\r?\n", ["a\r\nb\r\n\r\nc", "a\n\n", "a\r\n\n", "a\r\n"]), ("\\r\\n", ["a\r\n"]), ("(?:.*\r\n)*\r\n", ["a\r\nb\r\n\r\n"]), ("\n+", ["a\n\n\nb"]), ("(?<!\\\\)\n", ["a\\\nb\n"]), ("#", ["a#"]), ("a b", ["a b"]), ("a#b", ["a#b"]),
    ("\\A(GET|POST) ([^ ]+) HTTP/1\\.([01])\r\n", ["GET / HTTP/1.1\r\n", " GET / HTTP/1.1\r\n"]), ("\0", ["a\0"]), ("\xff\xfe", ["\xff\xfe"]), ("\n(?![ \t])", ["a\n b\nc", "a\n"]),
]
COMMON = ["a", "ab", "b\n", "aab", "\n", "ba a\r\n"]
LETTERS = "aab\n\r A"


def escape(text):
    return "".join(c if " " < c <= "~" and c != "\\" else f"\\x{ord(c):02x}" for c in text) or "\\e"


def end_of_match(pattern, subject):
    try:
        match = pattern.search(subject.encode("latin-1"))
    except SystemError:  # a bug in re, which says so
        return None
    return str(match.end()) if match else "-"


def row(text, subjects):
    try:
        pattern = re.compile(text.encode("latin-1"))
    except (re.error, DeprecationWarning, OverflowError, RecursionError):
        return [escape(text), "error"]
    fields = [escape(text)]
    for subject in dict.fromkeys(subjects):
        end = end_of_match(pattern, subject)
        if subject and end:  # in none nothing is searched
            fields += [escape(subject), end]
    return fields


class Grammar:
    """Patterns at random, most of them right. None asks inside a group whether that has matched."""

    def __init__(self, rng):
        self.rng = rng

    def pattern(self):
        self.groups = 0
        self.closed = []
        flags = self.rng.choice([""] * 6 + ["(?i)", "(?m)", "(?s)", "(?im)", "(?x)", "(?ms)"])
        return flags + self.alternatives(self.rng.choice([1, 2, 2, 3]))

    def alternatives(self, depth):
        return "|".join(self.sequence(depth) for _ in range(self.rng.choice([1, 1, 1, 1, 2, 3])))

    def sequence(self, depth):
        return "".join(self.item(depth) for _ in range(self.rng.choice([0] + [1, 1, 2, 2, 3, 4] * 2)))

    def item(self, depth):
        if self.rng.random() < 0.12:
            return self.rng.choice(["^", "$", "\\b", "\\B", "\\A", "\\Z"])
        atom = self.atom(depth)
        if self.rng.random() < 0.4:
            atom += self.rng.choice(["*", "+", "+", "?", "{2}", "{1,2}", "{,2}", "{2,}", "{,}"])
            atom += self.rng.choice(["", "", "?", "+"])
        return atom

    def atom(self, depth):
        choice = self.rng.random()
        if choice < 0.5 or depth == 0:
            return self.rng.choice(["a", "a", "b", "\\n", "\\r", ".", "\\w", "\\s", "\\W", "[ab]", "[^a]", "[^\\n]", "A", "\n", " ", "[a-b\\n]", "x", "\\x61", "{", "[[a]"])
        if choice < 0.6 and self.closed:
            return "\\%d" % self.rng.choice(self.closed)
        if choice < 0.65 and self.closed:
            return "(?(%d)%s|%s)" % (self.rng.choice(self.closed), self.sequence(depth - 1), self.sequence(depth - 1))
        if choice < 0.8:
            self.groups += 1
            number = self.groups
            body = self.alternatives(depth - 1)
            self.closed.append(number)
            return "(" + body + ")"
        if choice < 0.9:
            return self.rng.choice(["(?:", "(?:", "(?>", "(?i:", "(?s:", "(?m:", "(?-i:"]) + self.alternatives(depth - 1) + ")"
        # Captures inside an assertion are not for what is outside.
        saved = list(self.closed)
        if self.rng.random() < 0.5:
            around = self.rng.choice(["(?=", "(?!"]) + self.alternatives(depth - 1) + ")"
        else:
            around = self.rng.choice(["(?<=", "(?<!"]) + self.fixed() + ")"
        self.closed = saved
        return around

    def fixed(self):
        width = self.rng.randint(1, 2)
        parts = ["a", "b", ".", "\\n", "[^a]", "\\s", "\\ba", "a$", "^a", "(?:a|\\n)", "(?=a).", ".(?!b)"]
        ways = ["".join(self.rng.choice(parts) for _ in range(width)) for _ in range(self.rng.randint(1, 2))]
        return "|".join(ways)


def noise(rng):
    """Patterns at random, most of them wrong."""
    parts = ["a", "b", "(", ")", "[", "]", "{", "}", "*", "+", "?", "|", "^", "$", ".", "\\", "\\1", "(?", "(?:", "(?P<n>", "(?P=n)", "(?<=", "-", ",", "1", "2", ":", "=", "!", "#", "i", " ", "\\d", "\\x", "\n", "(?i)", "(?x)", "(?(1)", "<", ">", "P", "\\0", "[^", "\\Z", "7"]
    return "".join(rng.choice(parts) for _ in range(rng.randint(1, 9)))


def main():
    rng = random.Random(5)
    grammar = Grammar(rng)
    rows = [row(pattern, subjects + COMMON) for pattern, subjects in CASES]
    for i in range(int(sys.argv[1]) if len(sys.argv) > 1 else 4000):
        pattern = noise(rng) if i % 4 == 0 else grammar.pattern()
        rows.append(row(pattern, ["".join(rng.choices(LETTERS, k=rng.randint(1, 9))) for _ in range(5)]))
    for fields in rows:
        sys.stdout.write("\t".join(fields) + "\n")


if __name__ == "__main__":
    main()
