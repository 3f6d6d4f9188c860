# SPDX-License-Identifier: Apache-2.0

from conan import ConanFile
from conan.errors import ConanInvalidConfiguration
from conan.tools.build import check_min_cppstd
from conan.tools.cmake import CMake, CMakeDeps, CMakeToolchain, cmake_layout
from conan.tools.files import copy, get, rmdir
from conan.tools.scm import Version
import os

required_conan_version = ">=2.0.9"


class TornadoAsioConan(ConanFile):
    name = "tornado-asio"
    description = "The core of Python's Tornado in C++20, on standalone Asio"
    license = "Apache-2.0"
    url = "https://github.com/conan-io/conan-center-index"
    topics = ("networking", "asynchronous", "coroutines", "tornado", "asio")
    package_type = "library"
    settings = "os", "arch", "compiler", "build_type"
    options = {
        "shared": [True, False],
        "fPIC": [True, False],
        "with_tls": [True, False],
        "with_pcre2": [True, False],
    }
    default_options = {
        "shared": False,
        "fPIC": True,
        "with_tls": True,
        "with_pcre2": True,
    }
    implements = ["auto_shared_fpic"]

    def layout(self):
        cmake_layout(self, src_folder="src")

    def requirements(self):
        self.requires("asio/1.38.2", transitive_headers=True)
        self.requires("fmt/12.1.0", transitive_headers=True, transitive_libs=True)
        if self.options.with_tls:
            self.requires("openssl/[>=3 <4]")
        if self.options.with_pcre2:
            self.requires("pcre2/[>=10.42 <11]")

    def validate(self):
        check_min_cppstd(self, 20)
        minimum_version = {"gcc": "12", "clang": "16"}.get(str(self.settings.compiler))
        if minimum_version and Version(self.settings.compiler.version) < minimum_version:
            raise ConanInvalidConfiguration(
                f"{self.ref} needs {self.settings.compiler} {minimum_version} or later"
            )
        if self.settings.os != "Linux":
            raise ConanInvalidConfiguration(f"{self.ref} supports Linux only")
        if self.dependencies["fmt"].options.get_safe("header_only"):
            raise ConanInvalidConfiguration(f"{self.ref} needs fmt/*:header_only=False")

    def build_requirements(self):
        self.tool_requires("cmake/[>=3.24 <5]")

    def source(self):
        get(self, **self.conan_data["sources"][self.version], strip_root=True)

    def generate(self):
        tc = CMakeToolchain(self)
        tc.cache_variables["TORNADO_BUILD_TESTS"] = False
        tc.cache_variables["TORNADO_BUILD_EXAMPLES"] = False
        tc.cache_variables["TORNADO_BUILD_BENCHMARKS"] = False
        tc.cache_variables["TORNADO_WITH_TLS"] = bool(self.options.with_tls)
        tc.cache_variables["TORNADO_WITH_PCRE2"] = bool(self.options.with_pcre2)
        tc.generate()
        CMakeDeps(self).generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def package(self):
        for name in "LICENSE", "NOTICE":
            copy(self, name, self.source_folder, os.path.join(self.package_folder, "licenses"))
        CMake(self).install()
        rmdir(self, os.path.join(self.package_folder, "lib", "cmake"))
        rmdir(self, os.path.join(self.package_folder, "lib", "pkgconfig"))
        rmdir(self, os.path.join(self.package_folder, "share"))

    def package_info(self):
        self.cpp_info.set_property("cmake_file_name", "tornado-asio")
        self.cpp_info.set_property("cmake_target_name", "tornado::tornado")
        self.cpp_info.set_property("pkg_config_name", "tornado-asio")
        self.cpp_info.libs = ["tornado"]
        self.cpp_info.system_libs = ["pthread"]
        if not self.options.shared:
            self.cpp_info.defines = ["TORNADO_STATIC"]
        self.cpp_info.requires = ["asio::asio", "fmt::fmt"]
        if self.options.with_tls:
            self.cpp_info.requires += ["openssl::ssl", "openssl::crypto"]
        if self.options.with_pcre2:
            self.cpp_info.requires += ["pcre2::pcre2-8"]
