# SPDX-License-Identifier: Apache-2.0
#
# The dependencies of a release, as SPDX 2.3 in JSON on standard output; scripts/release runs it:
#
#     spdx.py VERSION URL SHA256 DATE    the archive's URL and hash, and when it was tagged
#
# A dependency's version is the oldest that CMakeLists.txt takes.

import json
import pathlib
import re
import sys

# Name, its licence, where it is from, how tornado-asio depends on it, and the version in the CMake files.
DEPENDENCIES = [
    ("asio", "BSL-1.0", "https://think-async.com/Asio/", "DEPENDS_ON", r"TORNADO_ASIO_MIN_VERSION ([\d.]+)"),
    ("fmt", "MIT", "https://fmt.dev/", "DEPENDS_ON", r"find_package\(fmt ([\d.]+)"),
    ("openssl", "Apache-2.0", "https://openssl.org/", "OPTIONAL_DEPENDENCY_OF", r"find_package\(OpenSSL ([\d.]+)"),
    ("pcre2", "BSD-3-Clause", "https://www.pcre.org/", "OPTIONAL_DEPENDENCY_OF", r"TORNADO_PCRE2_MIN_VERSION ([\d.]+)"),
    ("doctest", "MIT", "https://github.com/doctest/doctest", "TEST_DEPENDENCY_OF", r"find_package\(doctest ([\d.]+)"),
]

OURS = "SPDXRef-tornado-asio"


def package(name, version, licence, homepage, location="NOASSERTION"):
    return {
        "SPDXID": f"SPDXRef-{name}",
        "name": name,
        "versionInfo": version,
        "downloadLocation": location,
        "filesAnalyzed": False,
        "licenseConcluded": licence,
        "licenseDeclared": licence,
        "copyrightText": "NOASSERTION",
    } | ({"homepage": homepage} if homepage else {})


def relationship(name, kind):
    theirs = f"SPDXRef-{name}"
    first, second = (theirs, OURS) if kind.endswith("_OF") else (OURS, theirs)
    return {"spdxElementId": first, "relationshipType": kind, "relatedSpdxElement": second}


def main(version, url, sha256, date):
    cmake = "".join(pathlib.Path(path).read_text() for path in ("CMakeLists.txt", "tests/CMakeLists.txt"))
    ours = package("tornado-asio", version, "Apache-2.0", None, url)
    ours["checksums"] = [{"algorithm": "SHA256", "checksumValue": sha256}]
    ours["primaryPackagePurpose"] = "LIBRARY"
    packages = [ours]
    relationships = [
        {"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": OURS}
    ]
    for name, licence, homepage, kind, pattern in DEPENDENCIES:
        found = re.search(pattern, cmake)
        if not found:
            sys.exit(f"spdx.py: the CMake files do not say which {name} they take: no {pattern}")
        packages.append(package(name, found[1], licence, homepage) | {"comment": f"{found[1]} or later"})
        relationships.append(relationship(name, kind))
    document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"tornado-asio-{version}",
        "documentNamespace": f"{url}?sha256={sha256}",
        "creationInfo": {"created": date, "creators": ["Tool: scripts/release"]},
        "packages": packages,
        "relationships": relationships,
    }
    json.dump(document, sys.stdout, indent=2)
    print()


main(*sys.argv[1:])
