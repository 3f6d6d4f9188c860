// SPDX-License-Identifier: Apache-2.0
//
// What both halves of tls_memory share.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

/// Serves TLS on a port of its own, echoing lines, until stop() is true, which is asked now and
/// then. Calls `listening(port)` first.
void serve_tornado(const std::string& certificate, const std::string& key,
                   const std::function<void(std::uint16_t)>& listening,
                   const std::function<bool()>& stop);
void serve_asio(const std::string& certificate, const std::string& key,
                const std::function<void(std::uint16_t)>& listening,
                const std::function<bool()>& stop);
