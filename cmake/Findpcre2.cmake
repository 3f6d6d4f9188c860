# SPDX-License-Identifier: Apache-2.0
#
# Finds PCRE2 for bytes and ends in the target PCRE2::8BIT, whatever the system offers:
#
#   1. a CMake package, as PCRE2 itself, Conan and vcpkg make (same target name);
#   2. a pkg-config file or the bare header and library, as in Debian's libpcre2-dev.
#
# Sets pcre2_FOUND and pcre2_VERSION, and pcre2_PC_FOUND when it came from pkg-config. A PCRE2::8BIT
# that exists already is taken as it is. This file is installed beside tornado-asio-config.cmake.

set(pcre2_PC_FOUND FALSE)

if(NOT TARGET PCRE2::8BIT)
  # Not every package has a version file, and the version is checked below anyway.
  set(_pcre2_wanted "${pcre2_FIND_VERSION_COMPLETE}")
  unset(pcre2_FIND_VERSION_COMPLETE)
  find_package(pcre2 NAMES PCRE2 pcre2 CONFIG QUIET COMPONENTS 8BIT)
  set(pcre2_FIND_VERSION_COMPLETE "${_pcre2_wanted}")
endif()

if(TARGET PCRE2::8BIT)
  set(pcre2_LOCATION PCRE2::8BIT)
else()
  find_package(PkgConfig QUIET)
  if(PkgConfig_FOUND)
    pkg_check_modules(pcre2_PC QUIET libpcre2-8)
  endif()
  find_path(pcre2_INCLUDE_DIR NAMES pcre2.h HINTS ${pcre2_PC_INCLUDEDIR} ${pcre2_PC_INCLUDE_DIRS})
  find_library(pcre2_LIBRARY NAMES pcre2-8 pcre2-8-static HINTS ${pcre2_PC_LIBDIR}
                                                                 ${pcre2_PC_LIBRARY_DIRS})
  mark_as_advanced(pcre2_INCLUDE_DIR pcre2_LIBRARY)
  set(pcre2_VERSION "")
  if(pcre2_INCLUDE_DIR)
    file(READ "${pcre2_INCLUDE_DIR}/pcre2.h" _pcre2_header)
    if(_pcre2_header MATCHES "#define PCRE2_MAJOR +([0-9]+)")
      set(pcre2_VERSION "${CMAKE_MATCH_1}")
    endif()
    if(_pcre2_header MATCHES "#define PCRE2_MINOR +([0-9]+)")
      string(APPEND pcre2_VERSION ".${CMAKE_MATCH_1}")
    endif()
  endif()
  if(pcre2_INCLUDE_DIR AND pcre2_LIBRARY)
    set(pcre2_LOCATION "${pcre2_LIBRARY}")
  else()
    set(pcre2_LOCATION pcre2_LOCATION-NOTFOUND)
  endif()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  pcre2
  REQUIRED_VARS pcre2_LOCATION
  VERSION_VAR pcre2_VERSION)

if(pcre2_FOUND AND NOT TARGET PCRE2::8BIT)
  add_library(PCRE2::8BIT UNKNOWN IMPORTED)
  set_target_properties(
    PCRE2::8BIT PROPERTIES IMPORTED_LOCATION "${pcre2_LIBRARY}"
                           INTERFACE_INCLUDE_DIRECTORIES "${pcre2_INCLUDE_DIR}")
  if(pcre2_LIBRARY MATCHES "-static[.]")
    set_property(TARGET PCRE2::8BIT PROPERTY INTERFACE_COMPILE_DEFINITIONS PCRE2_STATIC)
  endif()
endif()
