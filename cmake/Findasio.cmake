# SPDX-License-Identifier: Apache-2.0
#
# Finds standalone Asio and ends in the target asio::asio, whatever the system offers:
#
#   1. the folder TORNADO_ASIO_INCLUDE_DIR, when it is set;
#   2. a CMake package, as Conan and vcpkg make (same target name);
#   3. a pkg-config file, as Asio itself installs since 1.23;
#   4. the bare headers, as in Debian.
#
# Sets asio_FOUND and asio_VERSION, and asio_PC_FOUND when it came from pkg-config. An asio::asio that
# exists already is taken as it is. This file is installed beside tornado-asio-config.cmake.

# Reads ASIO_VERSION (1.22.1 is 102201) from `dir` into the variable `result`.
function(_asio_read_version dir result)
  set(${result} "" PARENT_SCOPE)
  if(dir AND EXISTS "${dir}/asio/version.hpp")
    file(READ "${dir}/asio/version.hpp" header)
    if(header MATCHES "#define ASIO_VERSION ([0-9]+)")
      math(EXPR major "${CMAKE_MATCH_1} / 100000")
      math(EXPR minor "${CMAKE_MATCH_1} / 100 % 1000")
      math(EXPR patch "${CMAKE_MATCH_1} % 100")
      set(${result} "${major}.${minor}.${patch}" PARENT_SCOPE)
    endif()
  endif()
endfunction()

set(asio_PC_FOUND FALSE)

# Looks for a CMake package of any version: not every one has a version file, and the version is
# checked below anyway.
function(_asio_find_package)
  unset(asio_FIND_VERSION_COMPLETE) # or CMake would pass the version on
  find_package(asio CONFIG QUIET)
  set(asio_VERSION "${asio_VERSION}" PARENT_SCOPE)
endfunction()

if(NOT TARGET asio::asio AND NOT TORNADO_ASIO_INCLUDE_DIR)
  _asio_find_package()
endif()

if(TARGET asio::asio)
  if(NOT asio_VERSION)
    get_target_property(_asio_include_dirs asio::asio INTERFACE_INCLUDE_DIRECTORIES)
    foreach(_asio_dir IN LISTS _asio_include_dirs)
      # A target of the build tree may wrap its folders: $<BUILD_INTERFACE:...>.
      string(REGEX REPLACE "^\\$<BUILD_INTERFACE:(.*)>$" "\\1" _asio_dir "${_asio_dir}")
      _asio_read_version("${_asio_dir}" asio_VERSION)
      if(asio_VERSION)
        break()
      endif()
    endforeach()
  endif()
  set(asio_LOCATION asio::asio)
else()
  if(TORNADO_ASIO_INCLUDE_DIR)
    set(asio_INCLUDE_DIR "${TORNADO_ASIO_INCLUDE_DIR}")
    if(NOT EXISTS "${asio_INCLUDE_DIR}/asio.hpp")
      set(asio_NOT_FOUND_MESSAGE
          "TORNADO_ASIO_INCLUDE_DIR is ${TORNADO_ASIO_INCLUDE_DIR}, which has no asio.hpp")
      set(asio_INCLUDE_DIR asio_INCLUDE_DIR-NOTFOUND)
    endif()
  else()
    find_package(PkgConfig QUIET)
    if(PkgConfig_FOUND)
      pkg_check_modules(asio_PC QUIET asio)
    endif()
    find_path(asio_INCLUDE_DIR NAMES asio.hpp HINTS ${asio_PC_INCLUDEDIR} ${asio_PC_INCLUDE_DIRS})
    mark_as_advanced(asio_INCLUDE_DIR)
  endif()
  _asio_read_version("${asio_INCLUDE_DIR}" asio_VERSION)
  set(asio_LOCATION "${asio_INCLUDE_DIR}")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  asio
  REQUIRED_VARS asio_LOCATION
  VERSION_VAR asio_VERSION
  REASON_FAILURE_MESSAGE "${asio_NOT_FOUND_MESSAGE}")

if(asio_FOUND AND NOT TARGET asio::asio)
  find_package(Threads REQUIRED)
  add_library(asio::asio INTERFACE IMPORTED)
  set_target_properties(
    asio::asio
    PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${asio_INCLUDE_DIR}"
               INTERFACE_COMPILE_DEFINITIONS ASIO_STANDALONE
               INTERFACE_LINK_LIBRARIES Threads::Threads)
endif()
