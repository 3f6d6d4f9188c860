# SPDX-License-Identifier: Apache-2.0
#
# What Debian has installed, as a Conan package: a description without files, which names its targets
# and libraries as ConanCenter's recipe of that name does.
#
#     conan create system.py --name fmt

from conan import ConanFile
import subprocess


class SystemConan(ConanFile):
    package_type = "shared-library"

    def set_version(self):
        package = {"openssl": "libssl-dev"}.get(self.name, f"lib{self.name}-dev")
        version = subprocess.check_output(
            ["dpkg-query", "-W", "-f", "${source:Upstream-Version}", package], text=True
        )
        self.version = version.partition("+")[0]

    def package_info(self):
        self._without_folders(self.cpp_info)
        getattr(self, f"_{self.name}")()

    def _without_folders(self, cpp_info):
        cpp_info.includedirs = []
        cpp_info.libdirs = []
        cpp_info.bindirs = []

    def _component(self, name, target):
        component = self.cpp_info.components[name]
        self._without_folders(component)
        component.set_property("cmake_target_name", target)
        return component

    def _asio(self):
        self.cpp_info.set_property("pkg_config_name", "asio")
        self.cpp_info.defines = ["ASIO_STANDALONE"]
        self.cpp_info.system_libs = ["pthread"]

    def _fmt(self):
        self.cpp_info.set_property("cmake_file_name", "fmt")
        self.cpp_info.set_property("cmake_config_version_compat", "AnyNewerVersion")
        self.cpp_info.set_property("pkg_config_name", "fmt")
        self._component("_fmt", "fmt::fmt").system_libs = ["fmt"]

    def _openssl(self):
        self.cpp_info.set_property("cmake_file_name", "OpenSSL")
        self.cpp_info.set_property("cmake_find_mode", "both")
        self.cpp_info.set_property("pkg_config_name", "openssl")
        self._component("crypto", "OpenSSL::Crypto").system_libs = ["crypto"]
        ssl = self._component("ssl", "OpenSSL::SSL")
        ssl.requires = ["crypto"]
        ssl.system_libs = ["ssl"]

    def _pcre2(self):
        self.cpp_info.set_property("cmake_file_name", "PCRE2")
        self.cpp_info.set_property("pkg_config_name", "libpcre2")
        self._component("pcre2-8", "PCRE2::8BIT").system_libs = ["pcre2-8"]
