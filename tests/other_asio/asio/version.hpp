// SPDX-License-Identifier: Apache-2.0
//
// In front of the real one this makes another version of the installed Asio.
#ifndef ASIO_VERSION_HPP
#define ASIO_VERSION_HPP

#define ASIO_VERSION 999901

#endif
